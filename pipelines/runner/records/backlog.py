"""Writes to the store while the run continues: journal records, and results that nobody reads yet.

A store waits for its disk, or for a network, for each object that it keeps; a task's followers need not. What they must
not run ahead of, the run's state, is not written here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

NUM_WRITERS = 8


class Backlog:
    """Writes in the order in which they were added, `NUM_WRITERS` at once. Used from the event loop's thread.

    What could not be written, in one line, goes to `warn`. A killed runner loses what has not been written; a resumed
    run adds it again, from its state (see `container_task.py`).
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._waiting: deque[tuple[str, Callable[[], str]]] = deque()
        self._keys: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(NUM_WRITERS, thread_name_prefix="backlog")

    def add(self, write: Callable[[], str], *, key: str = "") -> None:
        """Adds one write, which returns "" or what was wrong; `key` is for `is_waiting`."""
        self._waiting.append((key, write))
        if key:
            self._keys.add(key)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    def is_waiting(self, key: str) -> bool:
        """Whether a write of this key has not ended yet."""
        return key in self._keys

    async def flush(self) -> None:
        """Returns when everything that was added is written."""
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Writes what is left, and ends the threads."""
        await self.flush()
        self._pool.shutdown()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(NUM_WRITERS, len(self._waiting)))]
                for problem in await asyncio.gather(*(loop.run_in_executor(self._pool, write) for _, write in batch)):
                    if problem:
                        self._warn(problem)
                self._keys.difference_update(key for key, _ in batch)
        finally:
            self._writing = None
