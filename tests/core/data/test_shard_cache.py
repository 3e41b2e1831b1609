"""The local cache of shards: verified, shared by processes, within a limit, whole after a kill."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.artifacts.entries import FileEntry
from components.core.data.shard_cache import LIMIT_VARIABLE, ShardCache
from components.core.errors import UserError
from components.core.store import BlobDamaged, BlobMissing, Store, open_store

SIZE = 1000
fork = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "shards"


@pytest.fixture
def shard(store: Store) -> Callable[[str], FileEntry]:
    """A blob of `SIZE` bytes, all of them the letter."""

    def put(letter: str) -> FileEntry:
        content = letter.encode() * SIZE
        return FileEntry(path=f"{letter}.parquet", bytes=SIZE, sha256=store.blobs.put(content))

    return put


def read(store: Store, entry: FileEntry) -> bytes:
    with ShardCache(store).open(entry) as file:
        return file.read()


def there(folder: Path) -> set[str]:
    """The first letters of the shards in the cache."""
    return {path.read_text()[:1] for path in folder.glob("[!.]*")}


def limit_to(num_shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(num_shards * SIZE / 1e9))


def test_a_shard_is_fetched_once_and_then_read_from_the_cache(tmp_path, store, shard, folder):
    entry = shard("a")
    assert read(store, entry) == b"a" * SIZE
    (tmp_path / "store").rename(tmp_path / "gone")
    assert read(store, entry) == b"a" * SIZE
    assert [path.name for path in folder.iterdir()] == [entry.sha256]


def test_a_shard_is_not_marked_as_verified_before_the_disk_has_it(store, shard, folder, monkeypatch):
    def broken(file: object) -> None:
        raise OSError(5, "Input/output error")

    entry = shard("a")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match="input/output error"):
        read(store, entry)
    monkeypatch.undo()
    monkeypatch.setenv("TRIMTAB_CACHE", str(folder.parent))
    before = (folder / entry.sha256).stat()
    (folder / entry.sha256).write_bytes(b"b" * SIZE)  # what a power cut may leave
    os.utime(folder / entry.sha256, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(store, entry) == b"a" * SIZE


@pytest.mark.parametrize("damage", [b"", b"b" * SIZE, b"a" * (SIZE + 1)])
def test_a_shard_that_was_changed_in_the_cache_is_fetched_again(damage, store, shard, folder):
    entry = shard("a")
    read(store, entry)
    (folder / entry.sha256).write_bytes(damage)
    assert read(store, entry) == b"a" * SIZE


def test_a_shard_that_was_only_touched_is_not_fetched_again(tmp_path, store, shard, folder):
    entry = shard("a")
    read(store, entry)
    (folder / entry.sha256).touch()
    (tmp_path / "store").rename(tmp_path / "gone")
    assert read(store, entry) == b"a" * SIZE


def test_a_shard_that_the_store_lost_or_damaged_is_an_error_and_leaves_nothing(tmp_path, store, shard, folder):
    missing, damaged = shard("a"), shard("b")
    blob = next((tmp_path / "store").rglob(damaged.sha256))
    blob.chmod(0o644)
    blob.write_bytes(b"x" * SIZE)
    next((tmp_path / "store").rglob(missing.sha256)).unlink()
    with pytest.raises(BlobMissing, match=missing.sha256):
        ShardCache(store).open(missing)
    with pytest.raises(BlobDamaged, match=damaged.sha256):
        ShardCache(store).open(damaged)
    assert list(folder.iterdir()) == []


def test_what_was_not_used_for_longest_makes_room(monkeypatch, store, shard, folder):
    limit_to(3, monkeypatch)
    for letter in "abcacd":
        read(store, shard(letter))
    assert there(folder) == {"a", "c", "d"}
    read(store, shard("e"))
    assert there(folder) == {"c", "d", "e"}


def test_without_a_limit_half_of_the_free_disk_may_be_taken(monkeypatch, store, shard, folder):
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    free = os.statvfs(folder.parents[1]).f_bavail * os.statvfs(folder.parents[1]).f_frsize
    assert ShardCache(store).limit() == pytest.approx(free / 2, rel=0.05)


def test_what_is_open_makes_no_room_not_even_in_another_process(monkeypatch, store, shard, folder):
    limit_to(2, monkeypatch)
    a, b, c, d = (shard(letter) for letter in "abcd")
    opened, done = fork.Event(), fork.Event()

    def hold() -> None:
        with ShardCache(store).open(a):
            opened.set()
            done.wait(60)

    process = fork.Process(target=hold)
    process.start()
    assert opened.wait(60)
    for entry in (b, c):
        read(store, entry)
    assert there(folder) == {"a", "c"}
    with ShardCache(store).open(c):
        read(store, d)
        assert there(folder) == {"a", "c", "d"}, "the limit gives way to what is in use"
    done.set()
    process.join()
    read(store, b)
    assert there(folder) == {"d", "b"}


def test_threads_and_processes_that_need_one_shard_fetch_it_once(tmp_path, monkeypatch, store, shard):
    entry, fetch, log = shard("a"), store.blobs.fetch, tmp_path / "log"

    def slowly(digest: str, path: Path) -> None:
        with log.open("a") as file:
            file.write(f"{digest}\n")
        time.sleep(0.3)
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", slowly)
    processes = [fork.Process(target=read, args=(store, entry)) for _ in range(3)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: read(store, entry), range(3))) == {b"a" * SIZE}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == f"{entry.sha256}\n"


def test_room_is_reserved_for_what_is_on_its_way(monkeypatch, store, shard, folder):
    limit_to(2, monkeypatch)
    slow = shard("b")
    read(store, shard("a"))
    fetch, started, go_on = store.blobs.fetch, threading.Event(), threading.Event()

    def fetching(digest: str, path: Path) -> None:
        if digest == slow.sha256:
            partial = path.with_name(f".{path.name}.0123.partial")
            partial.write_bytes(b"b" * (SIZE // 2))
            started.set()
            assert go_on.wait(60)
            partial.unlink()
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", fetching)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, store, slow)
        assert started.wait(60)
        assert there(folder) == {"a"}
        for letter in "cd":
            read(store, shard(letter))
            assert there(folder) == {letter}, "the rest is for what is on its way"
        go_on.set()
        assert waiting.result() == b"b" * SIZE


@pytest.mark.parametrize("order", ["abc", "bc", "bca"])
def test_a_process_that_is_killed_while_it_fetches_leaves_a_sound_cache(order, monkeypatch, store, shard, folder):
    limit_to(2, monkeypatch)
    entry, fetch = shard("a"), store.blobs.fetch
    started = fork.Event()

    def half(digest: str, path: Path) -> None:
        path.with_name(f".{path.name}.0123.partial").write_bytes(b"a" * (SIZE // 2))
        started.set()
        time.sleep(60)

    def interrupted() -> None:
        store.blobs.fetch = half  # type: ignore[method-assign]
        read(store, entry)

    process = fork.Process(target=interrupted)
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
    process.join()
    assert store.blobs.fetch == fetch
    for letter in order:
        assert read(store, shard(letter)) == letter.encode() * SIZE
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2 * SIZE, "the half that had arrived made room"
    assert there(folder) == set(order[-2:])


def test_what_a_killed_process_left_of_a_shard_is_gone_when_it_is_fetched_again(monkeypatch, store, shard, folder):
    entry, fetch = shard("a"), store.blobs.fetch
    folder.mkdir(parents=True)
    dead, ranges = (folder / f".{entry.sha256}.{end}" for end in ("0123.partial", f"{entry.sha256[:16]}.partial"))
    dead.write_bytes(b"a")
    ranges.write_bytes(b"a")
    seen = []

    def looking(digest: str, path: Path) -> None:
        seen.extend((dead.exists(), ranges.exists()))
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", looking)
    assert read(store, entry) == b"a" * SIZE
    assert seen == [False, True], "beside a new copy it would take more room than is reserved; ranges are gone on with"


def test_a_child_that_is_forked_while_a_shard_is_fetched_does_not_keep_it_locked(monkeypatch, store, shard):
    entry, fetch = shard("a"), store.blobs.fetch
    started, go_on = threading.Event(), threading.Event()
    forked, ends = fork.Event(), fork.Event()

    def fetching(digest: str, path: Path) -> None:
        started.set()
        assert go_on.wait(60)
        fetch(digest, path)

    monkeypatch.setattr(store.blobs, "fetch", fetching)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, store, entry)
        assert started.wait(60)
        child = fork.Process(target=lambda: (forked.set(), ends.wait(60)))
        child.start()
        assert forked.wait(60)
        go_on.set()
        assert waiting.result() == b"a" * SIZE
    lost = next(iter(Path(os.environ["TRIMTAB_CACHE"], "shards").glob("[!.]*")))
    lost.unlink()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read, store, entry).result(timeout=30) == b"a" * SIZE
    ends.set()
    child.join()


def test_a_cache_that_cannot_be_written_or_is_full_is_one_clear_line(tmp_path, monkeypatch, store, shard):
    entry = shard("a")

    def full(digest: str, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(store.blobs, "fetch", full)
        with pytest.raises(UserError, match=r"no space left on device; set TRIMTAB_CACHE to .* or TRIMTAB_CACHE_GB"):
            ShardCache(store).open(entry)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot cache shards in .*: not a directory; set TRIMTAB_CACHE to a folder"):
        ShardCache(store).open(entry)


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(text, monkeypatch, store):
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(UserError, match=f"TRIMTAB_CACHE_GB must be a number of gigabytes above 0, got '{text}'"):
        ShardCache(store).limit()
