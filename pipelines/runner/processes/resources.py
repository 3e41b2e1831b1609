"""CPU and memory of this machine, what tasks ask for, and who may run when."""

import asyncio
import math
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from heapq import heappush, heappushpop
from itertools import chain, count
from pathlib import Path

_MOST_OVERTAKEN = 16


@dataclass(frozen=True, kw_only=True)
class Request:
    """The request of one task: cores (a fraction is fine) and bytes. `threads` is the request rounded up."""

    cpu: float = 1.0
    memory: float = 0.0

    @property
    def threads(self) -> int:
        """How many threads its libraries may start."""
        return max(1, math.ceil(self.cpu))


UNREQUESTED_PER_CORE = 4
"""How many tasks that request no CPU run at once for each core: most wait for a network or a disk."""

UNREQUESTED = Request(cpu=1 / UNREQUESTED_PER_CORE, memory=512 * 2**20)
"""Request that a task without one counts as. It gets one thread."""


def machine_cores() -> int:
    """Cores that this process may use, by affinity and by the cgroup's quota (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def machine_memory() -> float:
    """Bytes of memory that this process may use: the machine's, or the cgroup's limit; infinite if unknown."""
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        total = math.inf
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return total if limit == "max" else min(total, float(limit))
    except (OSError, ValueError):
        return total


class CapacityClosed(Exception):  # noqa: N818  (a state, not a mistake)
    """The run is being stopped; no task starts any more."""


class Capacity:
    """Lets tasks run together as long as their requests fit into the machine.

    First come, first served, except that a small task may overtake a large one that does not fit yet; after 16 such
    overtakings the large one is let through first, so that it cannot starve. A request above the machine's size counts
    as the whole machine.

    The work for one task does not grow with the number of those that wait, only with the number of different requests.
    """

    def __init__(self, *, cpu: float, memory: float) -> None:
        self._total = Request(cpu=cpu, memory=memory)
        self._cpu, self._memory = cpu, memory
        # Of equal requests only the first matters: if it does not fit, neither do the others.
        self._waiting: dict[tuple[float, float], deque[_Waiter]] = {}
        self._numbers = count()
        # The largest numbers that were admitted, as a heap: whoever has a smaller one than all of these was overtaken
        # that often.
        self._overtakers: list[int] = []
        self._closed = False

    def close(self) -> None:
        """Nobody is admitted any more: whoever waits, or comes later, gets `CapacityClosed`."""
        self._closed = True
        for waiter in chain.from_iterable(self._waiting.values()):
            if not waiter.admitted.done():
                waiter.admitted.set_exception(CapacityClosed())

    @asynccontextmanager
    async def hold(self, request: Request) -> AsyncIterator[None]:
        """Waits until the request fits, and holds it.

        Raises:
            CapacityClosed: the run is being stopped.
        """
        if self._closed:
            raise CapacityClosed
        cpu, memory = min(request.cpu, self._total.cpu), min(request.memory, self._total.memory)
        waiter = _Waiter(next(self._numbers), cpu, memory, asyncio.get_running_loop().create_future())
        self._waiting.setdefault((cpu, memory), deque()).append(waiter)
        self._admit()
        try:
            await waiter.admitted
            yield
        finally:
            if waiter.admitted.done() and not waiter.admitted.cancelled() and not waiter.admitted.exception():
                self._cpu += cpu
                self._memory += memory
            else:
                waiter.admitted.cancel()
            self._admit()

    def _admit(self) -> None:
        while (waiter := self._next()) is not None:
            self._waiting[waiter.cpu, waiter.memory].popleft()
            self._cpu -= waiter.cpu
            self._memory -= waiter.memory
            waiter.admitted.set_result(None)
            push = heappushpop if len(self._overtakers) == _MOST_OVERTAKEN else heappush
            push(self._overtakers, waiter.number)

    def _next(self) -> "_Waiter | None":
        """Who is to be admitted now: the first that fits, unless one before it was overtaken too often."""
        for size, line in list(self._waiting.items()):
            while line and line[0].admitted.done():  # it gave up
                line.popleft()
            if not line:
                del self._waiting[size]
        for waiter in sorted((line[0] for line in self._waiting.values()), key=lambda waiter: waiter.number):
            # Sums of fractions such as 0.02 drift; a billionth of a core is no core.
            if waiter.cpu <= self._cpu + 1e-9 and waiter.memory <= self._memory + 1:
                return waiter
            if len(self._overtakers) == _MOST_OVERTAKEN and waiter.number < self._overtakers[0]:
                return None
        return None


@dataclass(eq=False)
class _Waiter:
    number: int
    cpu: float
    memory: float
    admitted: "asyncio.Future[None]"
