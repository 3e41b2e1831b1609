"""Many small transfers at once: as many threads as help, all results, and an end at the first error."""

import threading
import time
from types import SimpleNamespace

import pytest

from components.core.store import concurrency
from components.core.store.concurrency import NUM_JUDGED, NUM_NEAR, NUM_WORKERS, run_all


class Counted:
    """A transfer that takes some time, and how many of them ran at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.most = self.now = 0
        self.started: list[int] = []
        self.lock = threading.Lock()

    def __call__(self, item: int) -> int:
        with self.lock:
            self.started.append(item)
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        if item < 0:
            raise ValueError(f"item {item}")
        return item * item


@pytest.mark.parametrize("count", [0, 1, 2, NUM_NEAR, 100])
def test_results_are_in_the_order_of_the_items(count: int) -> None:
    assert run_all(Counted(0), range(count)) == [number * number for number in range(count)]


def test_a_near_store_is_asked_by_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "FAR_S", 60.0)
    transfer = Counted(0.01)
    run_all(transfer, range(60))
    assert transfer.most == NUM_NEAR


def test_a_far_store_is_asked_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "FAR_S", 0.0)
    transfer = Counted(0.05)
    run_all(transfer, range(100))
    assert transfer.most == NUM_WORKERS


@pytest.mark.parametrize(("quick_of_each", "num_threads"), [(NUM_JUDGED, NUM_NEAR), (NUM_JUDGED + 1, NUM_WORKERS)])
def test_a_moment_is_no_distance(monkeypatch: pytest.MonkeyPatch, quick_of_each: int, num_threads: int) -> None:
    of_thread = threading.local()  # a clock that moves only in transfers, and how many there were
    monkeypatch.setattr(concurrency, "time", SimpleNamespace(monotonic=lambda: getattr(of_thread, "now_s", 0.0)))
    threads: set[int] = set()

    def slow_but_for_each_nth(item: int) -> None:
        of_thread.count = getattr(of_thread, "count", 0) + 1
        if of_thread.count % quick_of_each:
            of_thread.now_s = getattr(of_thread, "now_s", 0.0) + 1
        threads.add(threading.get_ident())
        time.sleep(0.001)  # so that each thread has some

    run_all(slow_but_for_each_nth, range(600))
    assert len(threads) == num_threads


def test_the_first_error_ends_it() -> None:
    transfer = Counted(0.02)
    with pytest.raises(ValueError, match="item -1"):
        run_all(transfer, [-1, *range(100)])
    assert len(transfer.started) <= 2 * NUM_WORKERS
    assert transfer.now == 0


def test_an_error_in_the_middle_ends_it_too() -> None:
    transfer = Counted(0.02)
    with pytest.raises(ValueError, match="item -1"):
        run_all(transfer, [*range(10), -1, *range(1000)])
    assert len(transfer.started) <= 10 + 3 * NUM_WORKERS
