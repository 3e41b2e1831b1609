"""The warm processes and their forked children, without a pipeline around them."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.runner.processes import workers
from pipelines.runner.processes.workers import Ended, Worker


class Bench:
    """One worker, and specifications of children for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = Worker("light", folder / "worker.log")
        self.stop = asyncio.Event()
        self.count = 0

    async def run(self, source: str, *, timeout: float | None = None, **extra: Any) -> Ended:
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        spec = {
            "log": str(folder / "log"), "folder": str(folder), "env": {}, "threads": 1,
            "function": "f", "source": f"def f():\n    {source}\n",
            "executor_input": {"inputs": {}, "outputs": {"outputFile": str(folder / "out.json")}},
        }  # fmt: skip
        return await self.worker.run({**spec, **extra}, timeout=timeout, stop=self.stop)

    def log(self) -> str:
        return (self.folder / str(self.count) / "log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    def with_bench(scenario: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            bench = Bench(tmp_path)
            try:
                await asyncio.wait_for(scenario(bench), timeout=60)
            finally:
                await bench.worker.close()

        asyncio.run(main())

    return with_bench


def test_a_child_returns_its_exit_code(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.run("pass")).code == 0
        assert (await bench.run("raise ValueError('x')")).code == 1
        assert (await bench.run("import sys; sys.exit(0)")).code == 0
        assert (await bench.run("import sys; sys.exit('no')")).code == 1
        assert "no" in bench.log()

    bench(scenario)


def test_children_do_not_see_each_others_changes(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run("import os, json; os.environ['X'] = '1'; json.marked = True")
        assert (
            await bench.run("import os, json; assert 'X' not in os.environ and not hasattr(json, 'marked')")
        ).code == 0

    bench(scenario)


def test_how_threads_wait_is_the_users_choice_from_the_zygotes_start(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")

    async def scenario(bench: Bench) -> None:
        # What the zygote began with: OpenMP reads it when torch is loaded, before there is a task.
        source = (
            "import os, pathlib; begun = pathlib.Path(f'/proc/{os.getppid()}/environ').read_text().split(chr(0));"
            " assert 'OMP_WAIT_POLICY=passive' in begun; assert os.environ['OMP_WAIT_POLICY'] == 'passive'"
        )
        assert (await bench.run(source)).code == 0, bench.log()

    bench(scenario)


def test_random_numbers_differ_between_children(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        logs = set()
        for _ in range(2):
            await bench.run("import random; print(random.random())")
            logs.add(bench.log())
        assert len(logs) == 2

    bench(scenario)


def test_component_decorator_is_there_although_kfps_client_is_not_loaded(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        source = "import sys; from kfp import dsl; assert dsl.component; assert 'kfp.client' not in sys.modules"
        assert (await bench.run(source)).code == 0, bench.log()

    bench(scenario)


def test_a_killed_child_is_reported_with_its_signal(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        ended = await bench.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert (ended.code, ended.signal) == (None, signal.SIGKILL)

    bench(scenario)


def test_a_child_that_ignores_the_request_to_stop_is_killed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.2)

    async def scenario(bench: Bench) -> None:
        source = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        ended = await bench.run(source, timeout=0.5)
        assert ended.timed_out
        assert ended.signal == signal.SIGKILL

    bench(scenario)


def test_a_child_that_is_asked_to_stop_may_save_its_work(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        source = (
            "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)));"
            " print('ready'); time.sleep(60)"
        )
        task = asyncio.create_task(bench.run(source))
        while not (bench.folder / "1" / "log").exists() or "ready" not in bench.log():
            await asyncio.sleep(0.02)
        bench.stop.set()
        assert (await task).code == 0
        assert "saved" in bench.log()

    bench(scenario)


def test_a_killed_worker_takes_its_children_along_and_the_next_task_starts_a_new_one(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        task = asyncio.create_task(bench.run("import os, time; print(os.getpid()); time.sleep(600)"))
        while not (bench.folder / "1" / "log").exists() or not bench.log():
            await asyncio.sleep(0.02)
        pid = int(bench.log())
        bench.worker.kill()
        assert (await task).lost
        for _ in range(500):
            if not Path(f"/proc/{pid}").exists():
                break
            await asyncio.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()
        assert (await bench.run("pass")).code == 0

    bench(scenario)


def test_closing_ends_the_worker_while_it_still_imports(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.worker.start()
        process = bench.worker._process
        await bench.worker.close()
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    bench(scenario)


def test_the_worker_has_one_thread_so_that_a_fork_is_safe(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run("pass")
        assert len(list(Path(f"/proc/{bench.worker._process.pid}/task").iterdir())) == 1

    bench(scenario)


def test_a_command_replaces_the_child(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        ended = await bench.run("pass", argv=["sh", "-c", "echo $TRIMTAB_X; exit 7"], env={"TRIMTAB_X": "seen"})
        assert ended.code == 7
        assert bench.log() == "seen\n"

    bench(scenario)
