"""Files that are fetched in the background while the one before them is read."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from threading import Event
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Arrival(Generic[Item]):
    """An item and its file, which may still be on its way."""

    def __init__(self, item: Item, fetch: Callable[[], FileIO], future: "Future[FileIO] | None") -> None:
        self.item = item
        self._fetch, self._future = fetch, future
        self._process = os.getpid()

    def open(self) -> FileIO:
        """The file, once; the caller closes it. Waits for it, and raises what went wrong on its way."""
        future, self._future = self._future, None
        # In a process that was forked since, no thread of ours works on it.
        return self._fetch() if future is None or self._process != os.getpid() else future.result()

    def discard(self) -> None:
        """Closes the file, as soon as it is there, if it was not opened."""
        if self._future is not None:
            self._future.add_done_callback(_close)
            self._future = None


def _close(future: "Future[FileIO]") -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


def arriving(
    items: Iterable[Item],
    fetch: Callable[[Item, Event], FileIO],
    *,
    needed: Callable[[Item], bool],
    num_ahead: int,
) -> Generator[Arrival[Item]]:
    """The items in their order, each with its file, while those of the next `num_ahead` are fetched by as many threads.

    To be closed (`contextlib.closing`): afterwards nothing of it is left, neither threads nor open files. It waits for
    what is flowing. An arrival is good until the next one.

    Args:
        items: looked at `num_ahead` early.
        fetch: gives an item's file, and gives up early when the event is set; an error is raised by `Arrival.open`.
        needed: whether an item's file will be opened, as far as is known when it is looked at; if not, nothing is
            fetched before it is.
        num_ahead: 0 fetches each file when it is opened, without a thread.
    """
    stopped, source = Event(), iter(items)
    window: deque[Arrival[Item]] = deque()
    current: Arrival[Item] | None = None
    pool = ThreadPoolExecutor(max(num_ahead, 1), thread_name_prefix="shard")

    def look(item: Item) -> Arrival[Item]:
        early = num_ahead and needed(item)
        return Arrival(item, lambda: fetch(item, stopped), pool.submit(fetch, item, stopped) if early else None)

    try:
        while True:
            while len(window) <= num_ahead and (more := next(source, window)) is not window:
                window.append(look(more))  # type: ignore[arg-type]
            if not window:
                return
            current = window.popleft()
            yield current
            current.discard()
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for arrival in [current, *window]:
            if arrival is not None:
                arrival.discard()
