"""A collection beside writers, and one that is killed: no record is left without its blobs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aged_objects import Aged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.store import BlobMissing, Store, open_objects
from components.core.store.backends.objects import Listed, Objects, digest_of
from components.core.store.care.garbage import collect
from components.core.store.care.reachability import blobs_of_result
from components.core.store.contents import sweeps
from components.core.store.contents.blobs import blob_key

DAY = 86400.0
GRACE = 14 * DAY
OLD = GRACE + DAY


class Hooked(Aged):
    """Runs something once, right after a call has been answered or right before one is sent."""

    def __init__(self, objects: Objects) -> None:
        super().__init__(objects)
        self.hooks: dict[tuple[str, str], Callable[[], None]] = {}

    def stat(self, key: str) -> Listed:
        try:
            return super().stat(key)
        finally:
            self._run("after stat", key)

    def delete(self, key: str) -> None:
        self._run("before delete", key)
        super().delete(key)

    def _run(self, moment: str, key: str) -> None:
        hook = self.hooks.pop((moment, key), None)
        if hook is not None:
            hook()


@pytest.fixture
def hooked(objects: Objects) -> Hooked:
    return Hooked(objects)


def old_blob(hooked: Hooked) -> tuple[Store, str]:
    store = Store(hooked)  # type: ignore[arg-type]
    digest = store.blobs.put(b"content")
    hooked.age_all(OLD)
    return store, digest


def test_a_blob_that_is_relied_on_after_everything_was_followed_stays(hooked: Hooked) -> None:
    store, digest = old_blob(hooked)
    relied = []
    walk = hooked.walk

    def walk_and_rely(folder: str = "") -> Iterator[Listed]:
        yield from walk(folder)
        if folder == "checkpoints":  # the last that is listed
            relied.append(store.blobs.put(b"content"))

    hooked.walk = walk_and_rely  # type: ignore[method-assign]
    assert collect(hooked, grace_seconds=GRACE).deleted["blobs"] == []
    assert relied == [digest]
    assert store.blobs.get(digest) == b"content"


def test_a_writer_who_meets_the_sweep_of_his_blob_waits_and_puts_it_again(hooked: Hooked) -> None:
    store, digest = old_blob(hooked)
    with ThreadPoolExecutor(1) as pool:
        writing = []

        def write() -> None:
            writing.append(pool.submit(store.blobs.put, b"content"))
            time.sleep(0.3)  # time to find the blob, and to be wrong
            assert not writing[0].done()

        hooked.hooks["before delete", blob_key(digest)] = write
        assert [listed.key for listed in collect(hooked, grace_seconds=GRACE).deleted["blobs"]] == [blob_key(digest)]
        assert writing[0].result(timeout=30) == digest
    assert store.blobs.get(digest) == b"content"


def test_a_blob_that_a_whole_collection_deletes_behind_the_writers_back_is_put_again(hooked: Hooked) -> None:
    store, digest = old_blob(hooked)
    hooked.hooks["after stat", blob_key(digest)] = lambda: collect(hooked, grace_seconds=GRACE) and None
    assert store.blobs.put(b"content") == digest
    assert store.blobs.get(digest) == b"content"


def test_whoever_holds_a_blob_that_is_being_deleted_is_told_that_it_is_gone(hooked: Hooked) -> None:
    store, digest = old_blob(hooked)
    hooked.hooks["after stat", blob_key(digest)] = lambda: collect(hooked, grace_seconds=GRACE) and None
    with pytest.raises(BlobMissing):
        store.blobs.hold([digest])


def test_nobody_waits_for_a_collection_that_was_killed(objects: Objects) -> None:
    store = Store(objects)
    digest = store.blobs.put(b"content")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    sweeps.write_sweep(
        objects,
        sweeps.Sweep(
            collection="c", batch=1, at=time.time(), condemned=frozenset({digest}), done=False,
            host=sweeps.host_name(), pid=dead.pid,
        ),
        if_match=None,
    )  # fmt: skip
    began = time.monotonic()
    store.blobs.put(b"content")
    assert time.monotonic() - began < 30  # and not the ten minutes of a lease


@pytest.mark.timeout(300)
def test_writers_beside_an_endless_collection_never_find_a_record_without_its_blob(
    objects: Objects, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything goes fast here: marks last a moment, the grace is short, and contents come back again and again."""
    slow = store_uri.startswith("s3://")  # its times are whole seconds
    hold, grace, length = (2.0, 6.0, 20.0) if slow else (0.2, 1.2, 6.0)
    monkeypatch.setattr(sweeps, "HOLD_SECONDS", hold)
    store, end = Store(objects), time.monotonic() + length
    counts = {"deleted": 0, "relied": 0}
    missing: list[str] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            time.sleep(chance.uniform(0, grace))
            digest = store.blobs.put(f"content {chance.randrange(30)}".encode())
            time.sleep(chance.uniform(0, grace / 2))  # the task's work
            key = f"{number}-{chance.randrange(10**9)}"
            store.results.save("stage", key, {"output_artifacts": {"x": [{"files": {"": digest}}]}})
            time.sleep(chance.uniform(0, grace / 4))
            counts["relied"] += 1
            if not store.blobs.has(digest):
                missing.append(digest)

    with ThreadPoolExecutor(24) as pool:
        writers = [pool.submit(write, number) for number in range(24)]
        while time.monotonic() < end:
            counts["deleted"] += len(collect(objects, grace_seconds=grace).deleted["blobs"])
        for writer in writers:
            writer.result()
    assert missing == []
    assert counts["deleted"] > 0, counts
    assert counts["relied"] > 10, counts


COLLECTOR = """
import sys, time
from components.core.store import open_objects
from components.core.store.care.garbage import collect
from components.core.store.care import garbage
garbage.BATCH = 7
print("collecting", flush=True)
collect(open_objects(sys.argv[1]), grace_seconds=0, now=time.time() + 30 * 86400)
"""


def fill(store: Store, *, results: int = 12) -> None:
    """Results with their blobs, checkpoints, and refs that keep the blobs of every fourth result."""
    for number in range(results):
        weights = store.blobs.put(f"weights {number}".encode() * 1000)
        manifest = store.blobs.put(json.dumps({"files": [{"sha256": weights}]}).encode())
        record = {"output_artifacts": {"x": [{"files": {"manifest.json": manifest}}]}}
        store.results.save("stage", f"{number}", record)
        store.checkpoints.save(f"key{number}", {"weights": b"w"})
        if number % 4 == 0:
            store.refs.move(f"kept-{number}", {"blobs": [weights, manifest]}, expected=None)


def check_that_records_find_their_blobs(store: Store, objects: Objects) -> None:
    for listed in list(objects.walk("results")):
        record = json.loads(objects.get(listed.key).data)
        assert all(store.blobs.has(digest) for digest in blobs_of_result(objects, record)), listed.key


class Dying(Aged):
    """Answers nothing any more after a number of deletes, as for a process that is killed."""

    def __init__(self, objects: Objects, deletes: int) -> None:
        super().__init__(objects)
        self._left = deletes

    def delete(self, key: str) -> None:
        self._live()
        self._left -= 1
        super().delete(key)

    def put(self, key: str, *arguments: Any, **options: Any) -> str:
        self._live()
        return super().put(key, *arguments, **options)

    def _live(self) -> None:
        if self._left <= 0:
            raise KilledError


class KilledError(Exception):
    pass


def test_whichever_delete_is_the_last_records_find_their_blobs_and_the_next_collection_ends_it(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.core.store.concurrency.NUM_WORKERS", 2)
    store, later = Store(objects), time.time() + 30 * DAY
    fill(store, results=3)
    for _ in range(100):
        try:
            collect(Dying(objects, 2), grace_seconds=0, now=later)  # type: ignore[arg-type]
            break
        except KilledError:
            check_that_records_find_their_blobs(store, objects)
            objects.delete(sweeps.SWEEP_KEY)  # this process has not really died, so the place would stay taken
    collect(objects, grace_seconds=0, now=later)
    left = [listed.key for listed in objects.walk() if not listed.key.startswith("gc/")]
    assert sorted(key.split("/")[0] for key in left) == ["blobs", "blobs", "refs"]


@pytest.mark.timeout(300)
def test_a_collection_killed_again_and_again_ends_in_the_same_store(store_uri: str) -> None:
    uris = [f"{store_uri}/undisturbed", f"{store_uri}/killed"]
    for uri in uris:
        fill(Store(open_objects(uri)))
    objects = open_objects(uris[1])
    chance, kills = random.Random(3), 0
    for _ in range(8):
        command = [sys.executable, "-c", COLLECTOR, uris[1]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"collecting\n"
            time.sleep(chance.uniform(0.0, 0.15))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
        check_that_records_find_their_blobs(Store(objects), objects)
    assert kills > 0
    for uri in uris:
        subprocess.run([sys.executable, "-c", COLLECTOR, uri], check=True, capture_output=True)
    left = [sorted(listed.key for listed in open_objects(uri).walk() if "gc/" not in listed.key) for uri in uris]
    assert left[0] == left[1]
    assert len([key for key in left[0] if key.startswith("blobs/")]) == 6


# A store as a graph: contents by number, ages in days; `None` for what is not there.
ages = st.integers(0, 30)
graphs = st.fixed_dictionaries(
    {
        "blobs": st.lists(ages, min_size=1, max_size=8),
        "marks": st.dictionaries(st.integers(0, 7), ages, max_size=3),
        "manifests": st.lists(st.tuples(ages, st.sets(st.integers(0, 7), max_size=3)), max_size=4),
        "results": st.lists(st.tuples(ages, st.sets(st.integers(0, 11), max_size=3)), max_size=4),
        "refs": st.lists(st.tuples(ages, st.sets(st.integers(0, 11), max_size=2)), max_size=2),
        "runs": st.lists(st.tuples(ages, ages, st.sets(st.integers(0, 11), max_size=2), st.booleans()), max_size=3),
        "roots": st.sets(st.integers(0, 11), max_size=2),
    }
)


def build(aged: Aged, graph: dict[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """Puts the graph into an empty store; the keys that must go, those that must stay, and the given roots."""
    store = Store(aged)  # type: ignore[arg-type]
    digests = [store.blobs.put(f"blob {number}".encode()) for number in range(len(graph["blobs"]))]
    age_of = dict(zip(digests, graph["blobs"], strict=True))
    contents: dict[str, set[str]] = {}
    for number, (age, members) in enumerate(graph["manifests"]):
        named = {digests[member] for member in members if member < len(graph["blobs"])}
        document = {"n": number, "files": [{"sha256": digest} for digest in sorted(named)]}
        manifest = store.blobs.put(json.dumps(document).encode())
        digests.append(manifest)
        age_of[manifest], contents[manifest] = age, named

    def pick(members: set[int]) -> set[str]:
        return {digests[member] for member in members if member < len(digests)}

    key_ages = {blob_key(digest): age for digest, age in age_of.items()}
    for member, age in graph["marks"].items():
        if member < len(digests):
            aged.put(sweeps.held_key(digests[member]), b"")
            key_ages[sweeps.held_key(digests[member])] = age
            age_of[digests[member]] = min(age, age_of[digests[member]])
    roots = pick(graph["roots"])
    needed = set(roots)
    for number, (age, members) in enumerate(graph["results"]):
        files = {("manifest.json" if d in contents else f"f{d}"): d for d in sorted(pick(members))}
        store.results.save("stage", f"{number}", {"output_artifacts": {"x": [{"files": files}]}})
        key_ages[f"results/stage/{number}.json"] = age
        if age <= 14:
            for digest in files.values():
                needed |= {digest} | contents.get(digest, set())
    for number, (age, members) in enumerate(graph["refs"]):
        store.refs.move(f"r{number}", {"blobs": sorted(pick(members))}, expected=None)
        key_ages[f"refs/r{number}.json"] = age
        needed |= pick(members)
    for number, (first, second, members, released) in enumerate(graph["runs"]):
        if released:
            store.releases.publish("m", f"{number}", {"f": b"x"})
        item = {"manifest": {"kind": "release", "metadata": {"name": "m", "version": f"{number}"}}}
        store.journal.write(f"run{number}", "a", {"inputs": sorted(pick(members))})
        store.journal.write(f"run{number}", "b", {"output_artifacts": {"release": [item]}})
        keys = sorted(listed.key for listed in aged.walk(f"journal/run{number}"))
        key_ages |= dict(zip(keys, (first, second), strict=True))
        if min(first, second) <= 14 or released:
            needed |= pick(members)
    aged.ages = {key: age * DAY + 60 for key, age in key_ages.items()}
    go = {blob_key(digest) for digest, age in age_of.items() if age > 14 and digest not in needed}
    go |= {key for key, age in key_ages.items() if key.startswith("results/") and age > 14}
    stay = {listed.key for listed in aged.walk() if not listed.key.startswith(("held/", "gc/"))} - go
    return go, stay, roots


@pytest.mark.timeout(600)
def test_exactly_what_is_unreachable_and_old_goes(store_uri: str) -> None:
    examples = iter(range(10**6))

    @settings(
        max_examples=25 if store_uri.startswith("s3://") else 150, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(graph=graphs)
    def check(graph: dict[str, Any]) -> None:
        aged = Aged(open_objects(f"{store_uri}/{next(examples)}"))
        go, stay, roots = build(aged, graph)
        deleted = collect(aged, grace_seconds=14 * DAY + 120, roots=roots).deleted
        assert {listed.key for kind in deleted.values() for listed in kind} == go
        assert {listed.key for listed in aged.walk() if not listed.key.startswith(("held/", "gc/"))} == stay

    check()


def test_the_reference_of_the_property_knows_a_blob(objects: Objects) -> None:
    """The property would hold of an empty store as well: here is one example with everything in it."""
    aged = Aged(objects)
    graph = {
        "blobs": [20, 20, 3, 20], "marks": {3: 2}, "manifests": [(20, {0})], "results": [(3, {4}), (20, {1})],
        "refs": [], "runs": [], "roots": set(),
    }  # fmt: skip
    go, stay, _ = build(aged, graph)
    assert go == {blob_key(digest_of(b"blob 1")), "results/stage/1.json"}
    assert len(stay) == 5
