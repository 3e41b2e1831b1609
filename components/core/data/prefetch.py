"""Run a generator ahead of its consumer in one background thread."""

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


def prefetched(items: Generator[T], *, depth: int) -> Generator[T]:
    """Yield `items` in order, computed up to `depth` ahead by a background thread.

    An exception in `items` is raised here, at the item where it happened. When the consumer stops early, the thread
    ends; nothing starts before the first item is asked for.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    finished = StopIteration()

    def put(item: T | None, error: BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put((item, error), timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  carried to the consumer's thread, raised there
            put(None, error)
        else:
            put(None, finished)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is finished:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
        # Not left to the garbage collection, which an error's traceback delays: it may hold threads and files.
        items.close()
