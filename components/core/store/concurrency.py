"""Many small transfers at once: a store answers in milliseconds, and there are thousands of objects."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NUM_WORKERS = 16
NUM_NEAR = 4  # as many as a server in the same building keeps busy; more would wait for one another, not for it
FAR_S = 0.002  # for each thread: the store brings less than 500 objects a second, and does not keep the threads busy
NUM_JUDGED = 3  # items of one thread: a moment's wait is no distance


def run_all(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`[function(item) for item in items]` on threads. The first error ends it: what has not started never starts.

    Begins on `NUM_NEAR` threads. One whose last `NUM_JUDGED` items each took longer than `FAR_S` for each thread brings
    one more, up to `NUM_WORKERS`: what waits for a distant server does so side by side, what waits for the processor
    does not.
    """
    if len(items) <= 1:
        return [function(item) for item in items]
    results: list[Any] = [None] * len(items)
    numbers = iter(range(len(items)))  # shared: its next() is one step
    stopped = threading.Event()
    workers: list[Future[None]] = []
    at_once = NUM_NEAR

    def work() -> None:
        nonlocal at_once
        took_s = deque([0.0] * NUM_JUDGED, maxlen=NUM_JUDGED)
        try:
            for number in numbers:
                if stopped.is_set():
                    return
                began = time.monotonic()
                results[number] = function(items[number])
                took_s.append(time.monotonic() - began)
                if at_once < NUM_WORKERS and min(took_s) > FAR_S * at_once:
                    at_once += 1
                    workers.append(pool.submit(work))
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(NUM_WORKERS, thread_name_prefix="store") as pool:
        try:
            workers += [pool.submit(work) for _ in range(NUM_NEAR)]
            for worker in workers:  # those that are added meanwhile too
                worker.result()
        except BaseException:
            stopped.set()
            raise
    return results
