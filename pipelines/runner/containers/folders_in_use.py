"""Folders of volumes that tasks in containers write to: never one at the same time as another inside of it.

A task that has the outer one could put a link in place of the inner one after the runner looked at it, and the engine,
which mounts by path, would follow the link.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path


class FoldersInUse:
    """Those of one run's tasks. Another run that has the same volume is not seen."""

    def __init__(self) -> None:
        self._used: Counter[Path] = Counter()
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def use(self, folders: Sequence[Path]) -> AsyncIterator[None]:
        """Waits until no other task has a folder inside or around one of these (real paths)."""
        async with self._left:
            await self._left.wait_for(lambda: not self._is_in_the_way(folders))
            self._used.update(folders)
        try:
            yield
        finally:
            async with self._left:
                self._used.subtract(folders)
                self._left.notify_all()

    def _is_in_the_way(self, folders: Sequence[Path]) -> bool:
        used = [folder for folder, times in self._used.items() if times]
        return any(
            one != other and (one.is_relative_to(other) or other.is_relative_to(one))
            for one in folders
            for other in used
        )
