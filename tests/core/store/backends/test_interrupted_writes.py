"""kill -9 at any moment: no half object is visible, and the same work again succeeds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.core.store import Store
from components.core.store.backends.objects import Objects, digest_of

# Writes without end: blobs in one piece and in parts, from bytes and from a file, releases and checkpoints.
WRITER = """
import itertools, random, sys
from pathlib import Path
from components.core.store import Store
from components.core.store.backends.local_objects import LocalObjects

uri, folder, seed = sys.argv[1:]
if uri.startswith("s3://"):
    from components.core.store.backends.s3.objects import S3Objects
    bucket, prefix = uri.removeprefix("s3://").split("/", 1)
    objects = S3Objects(bucket=bucket, prefix=prefix, multipart_bytes=6 << 20, part_bytes=5 << 20, range_bytes=5 << 20)
else:
    objects = LocalObjects(Path(uri))
store, source = Store(objects), Path(folder, "source")
chance = random.Random(int(seed))
store.check_writable()
filling = chance.randbytes(11 << 20)
print("writing", flush=True)
for turn in itertools.count():
    mark = f"{seed}-{turn}"
    large = mark.encode() + filling
    source.write_bytes(large)
    store.blobs.put_many([source, large[:200_000], mark.encode()])
    store.checkpoints.save("work", {"weights": large[: 1 << 20] + mark.encode(), "turn": mark.encode()})
    store.releases.publish("model", mark, {"model.onnx": large[: 2 << 20], "card.md": mark.encode()})
    store.results.save("stage", "key", {"turn": mark, "filling": "x" * 100_000})
"""


def work_until_killed(uri: str, folder: Path, *, seed: int, seconds: float) -> None:
    command = [sys.executable, "-c", WRITER, uri, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        assert writer.stdout.readline() == b"writing\n", writer.stderr.read().decode()
        time.sleep(seconds)
        assert writer.poll() is None, writer.stderr.read().decode()
        writer.send_signal(signal.SIGKILL)


def check_that_everything_visible_is_whole(store: Store, objects: Objects, folder: Path) -> None:
    for listed in objects.walk("blobs"):
        data = objects.get(listed.key).data
        assert digest_of(data) == listed.key.rpartition("/")[2]
    for name, version in store.releases.list():
        assert store.releases.files(name, version) == ["card.md", "model.onnx"]
        assert len(store.releases.read(name, version, "model.onnx")) == 2 << 20
        assert store.releases.read(name, version, "card.md") == version.encode()
    if store.checkpoints.load("work", folder):
        turn = (folder / "turn").read_bytes()
        assert (folder / "weights").read_bytes()[1 << 20 :] == turn
    result = store.results.load("stage", "key")
    assert result is None or len(result["filling"]) == 100_000


@pytest.mark.timeout(300)
def test_killed_writers_leave_no_half_object_and_the_rerun_succeeds(
    store: Store, objects: Objects, store_uri: str, tmp_path: Path
) -> None:
    chance = random.Random(20)
    for seed in range(5):
        work_until_killed(store_uri, tmp_path, seed=seed, seconds=chance.uniform(0.0, 0.5))
        check_that_everything_visible_is_whole(store, objects, tmp_path / f"checkpoint-{seed}")

    # What the first writer was killed at, again, now to its end.
    large = b"0-0" + random.Random(0).randbytes(11 << 20)
    bodies = [large, large[:200_000], b"0-0"]
    assert [store.blobs.get(digest) for digest in store.blobs.put_many(bodies)] == bodies
    store.releases.publish("model", "0-0", {"model.onnx": large[: 2 << 20], "card.md": b"0-0"})
    store.checkpoints.save("work", {"weights": bytes(1 << 20) + b"again", "turn": b"again"})
    assert store.checkpoints.load("work", tmp_path / "checkpoint")
    check_that_everything_visible_is_whole(store, objects, tmp_path / "last")
    store.checkpoints.clear("work")
    assert list(objects.walk("checkpoints")) == []


def test_a_writer_that_dies_between_two_steps_leaves_only_hidden_files(
    tmp_path: Path, store: Store, objects: Objects
) -> None:
    store.blobs.put(b"bytes")
    if (hidden := Path(objects.uri, ".partial")).is_dir():  # the local kind: as after a kill
        (hidden / "left-by-a-killed-writer").write_bytes(b"half")
    assert [listed.size for listed in objects.walk()] == [5]
    assert objects.folders("blobs") == ["sha256"]
