"""A data set that is read while it arrives."""

import gc
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from components.core.artifacts.manifest import publish_entries
from components.core.data import dataset as dataset_module
from components.core.data.dataset import SHARDS_AHEAD, Dataset, open_dataset, write_dataset
from components.core.data.shard_cache import LIMIT_VARIABLE
from components.core.errors import UserError
from components.core.store import BlobMissing, Store, StoreUnavailable, open_store
from components.core.tasks import get_task

NUM_SHARDS = 20
ROWS = 5
fork = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def rows() -> list[dict]:
    made = []
    for number in range(NUM_SHARDS * ROWS):
        image = f"{number:03}".encode() * 200
        digest = hashlib.sha256(image).hexdigest()
        made.append({"image": image, "label": number % 3, "digest": digest, "source": f"{number}.jpg"})
    return made


@pytest.fixture
def dataset(tmp_path: Path, store: Store, rows: list[dict], monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """`NUM_SHARDS` shards of `ROWS` rows."""
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 3500)
    write_dataset(
        tmp_path / "data",
        rows=get_task("classification").rows,
        classes=["a", "b", "c"],
        splits={"train": rows},
        store=store,
    )
    opened = open_dataset(tmp_path / "data", store)
    assert opened.shard_rows("train") == [ROWS] * NUM_SHARDS
    return opened


@pytest.fixture
def fetched(store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards in the order in which their fetching began."""
    began: list[int] = []
    numbers = {entry.sha256: number for number, entry in enumerate(dataset.manifest.files)}
    fetch = store.blobs.fetch

    def noted(digest: str, path: Path) -> None:
        began.append(numbers[digest])
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", noted)
    return began


def background() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shard")]


def open_shards() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            name = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if "/cache/shards/" in name:
            found.append(name)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("waited for 30 s")


def test_nothing_is_fetched_before_it_is_read(dataset: Dataset, fetched: list[int], tmp_path: Path) -> None:
    assert list(dataset.order("train", seed=1))
    assert dataset.rows("train") == NUM_SHARDS * ROWS
    assert fetched == []
    assert not (tmp_path / "cache").exists()


def test_the_next_shards_are_fetched_while_one_is_read_and_no_more_than_those(
    dataset: Dataset, fetched: list[int]
) -> None:
    order = [shard for shard, _ in dataset.order("train", seed=4)]
    with closing(dataset.iterate("train", seed=4)) as passing:  # type: ignore[type-var]
        next(passing)
        wait_until(lambda: len(fetched) == SHARDS_AHEAD + 1)
        assert sorted(fetched) == sorted(order[: SHARDS_AHEAD + 1])
        for _ in range(ROWS):
            next(passing)
        wait_until(lambda: len(fetched) == SHARDS_AHEAD + 2)
        threading.Event().wait(0.2)
        assert sorted(fetched) == sorted(order[: SHARDS_AHEAD + 2])


def test_shards_are_fetched_side_by_side(dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    together, fetch = threading.Barrier(4), store.blobs.fetch
    first = {entry.sha256 for entry in dataset.manifest.files[:4]}

    def meeting(digest: str, path: Path) -> None:
        if digest in first:
            together.wait(60)  # four must be under way at once, or it breaks
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", meeting)
    assert len(list(dataset.iterate("train"))) == NUM_SHARDS * ROWS


def test_a_pass_is_the_same_rows_when_the_cache_holds_two_shards(
    dataset: Dataset, rows: list[dict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = list(dataset.iterate("train", seed=7, epoch=1))
    assert sorted(row["source"] for row in whole) == sorted(row["source"] for row in rows)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "small"))
    largest = max(entry.bytes for entry in dataset.manifest.files)
    monkeypatch.setenv(LIMIT_VARIABLE, str(2 * largest / 1e9))
    small = open_dataset(tmp_path / "data", open_store(str(tmp_path / "store")))
    assert list(small.iterate("train", seed=7, epoch=1)) == whole
    assert len(list((tmp_path / "small" / "shards").iterdir())) == 2


def test_a_failure_in_the_background_is_raised_where_it_belongs_and_leaves_nothing_behind(
    dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, broken = store.blobs.fetch, dataset.manifest.files[3].sha256
    failed = threading.Event()

    def failing(digest: str, path: Path) -> None:
        if digest == broken:
            failed.set()
            raise StoreUnavailable("the network is gone")
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", failing)
    passing, seen = dataset.iterate("train", columns=("source",)), []

    def read_on() -> None:
        for row in passing:
            assert failed.wait(60)
            seen.append(row["source"])

    with pytest.raises(StoreUnavailable, match="the network is gone") as caught:
        read_on()
    assert seen == [f"{number}.jpg" for number in range(3 * ROWS)]
    assert (background(), open_shards()) == ([], []), f"while {caught.value!r} is being handled"


def test_a_pass_that_is_given_up_leaves_no_thread_and_no_open_file(dataset: Dataset, fetched: list[int]) -> None:
    passing = dataset.iterate("train")
    next(passing)
    assert len(background()) > 0 < len(open_shards())
    passing.close()  # type: ignore[attr-defined]
    assert (background(), open_shards()) == ([], [])
    assert len(fetched) <= SHARDS_AHEAD + 1


def test_a_shard_that_turns_out_not_to_be_needed_is_closed(dataset: Dataset) -> None:
    with closing(dataset.stream("train", ((shard, None) for shard in range(NUM_SHARDS)))) as shards:
        for number, _, read in shards:
            if number % 2:
                assert read().num_rows == ROWS
            wait_until(lambda: len(open_shards()) <= SHARDS_AHEAD + 1)
    assert (background(), open_shards()) == ([], [])


def test_what_is_not_needed_is_fetched_only_if_it_is_read_after_all(dataset: Dataset, fetched: list[int]) -> None:
    wanted = [(shard, shard % 5 == 0) for shard in range(NUM_SHARDS)]
    with closing(dataset.stream("train", wanted, needed=bool)) as shards:
        for number, needed, read in shards:
            if needed or number == 7:
                assert read()["source"].to_pylist()[0] == f"{number * ROWS}.jpg"
    assert sorted(fetched) == [0, 5, 7, 10, 15]


def test_an_early_end_does_not_wait_for_another_process_that_fetches_the_same(dataset: Dataset, store: Store) -> None:
    started, ends = fork.Event(), fork.Event()

    def stuck(digest: str, path: Path) -> None:
        started.set()
        ends.wait(60)

    def other() -> None:
        store.blobs.fetch = stuck  # type: ignore[method-assign]
        dataset.read("train", 1)

    process = fork.Process(target=other)
    process.start()
    assert started.wait(60)
    passing = dataset.iterate("train")
    next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert process.is_alive()
    assert background() == []
    process.kill()
    process.join()
    assert len(list(dataset.iterate("train"))) == NUM_SHARDS * ROWS


def test_a_child_that_is_forked_in_the_middle_of_a_pass_reads_on_and_anew(
    dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [row["source"] for row in dataset.iterate("train", seed=3)]
    go_on, fetch, slow = threading.Event(), store.blobs.fetch, dataset.manifest.files[1].sha256

    def fetching(digest: str, path: Path) -> None:
        assert digest != slow or go_on.wait(60)
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", fetching)
    Path(os.environ["TRIMTAB_CACHE"], "shards", slow).unlink()
    passing = dataset.iterate("train")
    before = [next(passing)["source"]]  # the second shard is on its way now, and stays so in the child

    def child() -> None:
        go_on.set()
        assert [row["source"] for row in dataset.iterate("train", seed=3)] == expected
        assert sorted(before + [row["source"] for row in passing]) == sorted(expected)
        os._exit(7)

    process = fork.Process(target=child)
    process.start()
    go_on.set()
    process.join(60)
    assert process.exitcode == 7
    assert sorted(before + [row["source"] for row in passing]) == sorted(expected)


def test_a_shard_that_the_store_has_lost_is_one_clear_line(dataset: Dataset, store: Store, tmp_path: Path) -> None:
    lost = dataset.manifest.files[2].sha256
    next((tmp_path / "store").rglob(lost)).unlink()
    with pytest.raises(BlobMissing, match=f"^no blob {lost} in the store [^\n]*$"):
        list(dataset.iterate("train"))


def test_a_shard_with_other_rows_than_the_manifest_says_is_one_clear_line(
    dataset: Dataset, store: Store, tmp_path: Path
) -> None:
    stated = [ROWS - 1, ROWS + 1, *[ROWS] * (NUM_SHARDS - 2)]
    facts = dataset.manifest.metadata | {"shard_rows": {"train": stated, "validation": [], "test": []}}
    publish_entries(tmp_path / "wrong", kind="dataset", entries=dataset.manifest.files, metadata=facts)
    with pytest.raises(UserError, match=r"train-00000\.parquet holds 5 rows where the dataset's manifest says 4"):
        list(open_dataset(tmp_path / "wrong", store).iterate("train"))


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    gc.collect()
    assert (background(), open_shards()) == ([], [])
