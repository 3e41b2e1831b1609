"""Which folders of volumes tasks in containers use together."""

import asyncio
from pathlib import Path

import pytest

from pipelines.runner.containers.folders_in_use import FoldersInUse


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("/v", "/v/way", False), ("/v/way", "/v", False), ("/v/a/b", "/v/a", False),
        ("/v", "/v", True), ("/v/a", "/v/b", True), ("/v", "/w/way", True), ("/v/a", "/v/ab", True),
    ],
)  # fmt: skip
def test_a_folder_and_one_inside_of_it_are_not_used_together(first: str, second: str, together: bool) -> None:
    async def both() -> list[str]:
        folders, said, entered = FoldersInUse(), [], asyncio.Event()

        async def use(name: str, folder: str) -> None:
            async with folders.use([Path("/elsewhere"), Path(folder)]):
                said.append(f"{name} begins")
                entered.set()
                await asyncio.sleep(0.01)
                said.append(f"{name} ends")

        one = asyncio.create_task(use("one", first))
        await entered.wait()
        await asyncio.gather(one, use("two", second))
        return said

    said = asyncio.run(both())
    assert (said[1] == "two begins") is together


def test_a_task_that_fails_leaves_its_folders() -> None:
    async def fail_and_use() -> str:
        folders = FoldersInUse()
        with pytest.raises(RuntimeError):
            async with folders.use([Path("/v"), Path("/v/own")]):
                raise RuntimeError
        async with asyncio.timeout(5), folders.use([Path("/v/way")]):
            return "used"

    assert asyncio.run(fail_and_use()) == "used"
