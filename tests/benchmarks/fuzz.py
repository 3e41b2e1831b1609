"""Fuzzing of what others write: executor outputs, tables, catalogs, manifests, Parquet, and what lies in a store.

    python tests/benchmarks/fuzz.py --minutes 10 [--target parquet]

Each target has whole inputs, which are damaged as bytes and, where they are trees, as trees. A child reads them within
2 GiB; each must be read, or refused with one printable line. Anything else (a traceback, a crash of the child, more
memory, a refusal for want of memory alone, more than `HANG_SECONDS` of the processor) is kept in a file (--keep) and
printed; exit code 1 if something was found. What was found stands as a test beside each reader, most of it in
`tests/core/data/ingestion/test_found_by_fuzzing.py`.
"""

import argparse
import base64
import collections
import copy
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from hostile_documents import DOCUMENTS

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, read_manifest
from components.core.artifacts.several import unpacked
from components.core.bundles.watched import watched_of
from components.core.data.dataset import SPLITS, Dataset
from components.core.data.ingestion.locations import UnreadableError
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.report.page import Section, render_page
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.classification.data_page import data_blocks as classification_blocks
from components.core.tasks.classification.examples import LabelledImages
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.segmentation.assets import palette_of
from components.core.tasks.segmentation.augment import Augmentation
from components.core.tasks.segmentation.data_page import data_blocks as segmentation_blocks
from components.core.tasks.segmentation.examples import MaskedImages
from components.core.tasks.segmentation.masks import encode
from components.core.tasks.segmentation.rows import SegmentationRows
from components.core.tasks.translation.examples import SentencePairs
from components.core.tasks.translation.general import GeneralSentences
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.languages import languages_of
from components.core.tasks.translation.tmx import tmx_pairs
from components.evaluate.comparison import _near_copies as near_copies_of
from pipelines.runner.ir.pipeline import ArtifactPort, Component, Parameter
from pipelines.runner.processes.launch import Folders
from pipelines.runner.tasks.inputs import Inputs
from pipelines.runner.tasks.outputs import OUTPUT_FILE, collect, executor_input

MEMORY_BYTES = 2 << 30
HANG_SECONDS = 30
"""Of the processor: on a busy machine a harmless input may take as long by the clock."""
BLOCKED_SECONDS = 300
CHILD_CASES = 400
LONGEST_MESSAGE = 3000

TEXTS = [
    "", " ", "\0", "\n", "a\nb", "\x1b[2K", "\u2028", "\ud800", "\u202e", "a" * 300, "x" * 100_000,
    "../../x", "/", "..", "/etc/hostname", "file:///etc/hostname", "file:x", "s3://", "s3://b/k", "~nobody/x",
    "package:x/../y", "NaN", "-1", "9" * 5000, "[" * 5000, "1e999", "image", "label", "a.png", "sha256:" + "0" * 64,
    "0" * 64, "data:base64,AAAA",
]  # fmt: skip
VALUES: list[Any] = [
    *TEXTS, None, True, False, 0, -1, 1, 255, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    [], {}, [[]], [None], {"": {}}, [0] * 10_000, {str(n): n for n in range(2000)},
]  # fmt: skip
BYTES = [b"\0", b"\xff", b"\x80", b"\n", b"\r", b'"', b",", b"\\", b"[" * 3000, b"{" * 3000, b"9" * 5000, b"\xff" * 8]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Files to damage: `trees` are written by `text`, `blobs` are as they are; `read` does the reading in a folder."""

    read: Callable[[bytes, Path], Any]
    trees: tuple[Any, ...] = ()
    blobs: tuple[bytes, ...] = ()
    text: Callable[[Any], bytes] = lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")


def png(values: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.array(values, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURE = png([[1, 2], [3, 4]])
MASK = png([[0, 9], [9, 0]])
FOLDER_FILES = {"a.png": PICTURE, "b.png": png([[9, 0], [0, 1]])}


def look_at(rows: Any, dataset: Path, folder: Path) -> None:
    """All of preparation that reads what a user brings."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    source = rows.open_source(str(dataset), scratch)
    list(source.referenced())
    for item in source.items():
        rows.inspect(item, max_bytes=1_000_000)
    rows.look(rows.open_source(str(dataset), scratch), str(dataset))


def table_reader(suffix: str, rows: Any) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> None:
        for name, content in FOLDER_FILES.items():
            (folder / name).write_bytes(content)
        path = folder / f"table{suffix}"
        path.write_bytes(data)
        look_at(rows, path, folder)

    return read


def read_class_list(data: bytes, folder: Path) -> None:
    for side in ("images", "masks"):
        (folder / side).mkdir(exist_ok=True)
        for name, content in FOLDER_FILES.items():
            (folder / side / name).write_bytes(content if side == "images" else MASK)
    (folder / "classes.json").write_bytes(data)
    look_at(SegmentationRows(), folder, folder)


def read_catalog(data: bytes, folder: Path) -> None:
    (folder / "catalog.yaml").write_bytes(data)
    load_catalog(folder / "catalog.yaml")


def read_pairs(suffix: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"pairs{suffix}"
        path.write_bytes(data)
        pairs = tmx_pairs(path, source="en", target="pt") if suffix == ".tmx" else catalog_pairs(path)
        collections.deque(pairs, maxlen=0)

    return read


COMPONENT = Component(
    name="comp-x",
    output_parameters={"text": Parameter(type="STRING"), "n": Parameter(type="NUMBER_INTEGER")},
    output_artifacts={"out": ArtifactPort()},
)


def read_output(data: bytes, folder: Path) -> None:
    folders = Folders(artifacts=folder / "artifacts", work=folder / "work", log=folder / "log")
    folders.clear()
    folders.artifacts.mkdir()
    (folders.work / "outputs").mkdir()
    (folders.artifacts / "out").write_text("x")
    (folders.work / OUTPUT_FILE).write_bytes(data.replace(b"/x/", f"{folders.artifacts}/".encode()))
    collect(COMPONENT, executor_input(COMPONENT, Inputs(), folders), folders, shared=())


def read_written_manifest(data: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(data)
    manifest = read_manifest(folder)
    if manifest.kind == "dataset":
        dataset = Dataset(manifest, open_store(str(folder / "store")))
        assert dataset.description.isprintable()
        assert len(dataset.description) <= 300
        dataset.stream("train", np.arange(1))
        for read in (stated_levels, palette_of, languages_of, near_copies_of):
            with suppress(UserError):
                read(dataset)
        for blocks in (classification_blocks, segmentation_blocks):
            render_page("data", [Section("", blocks(dataset))] if dataset.classes else [])
    elif manifest.kind == "model":
        watched = watched_of(manifest, get_task("translation"))
        assert watched is None or GeneralSentences().change(watched.answers, watched.answers).figures
    elif manifest.kind == "rung":
        unpacked(manifest, "0/model")


def read_documents(data: bytes, folder: Path) -> None:
    """By each stage that reads such a document: it is one of theirs at most."""
    for _, read in DOCUMENTS.values():
        with suppress(UserError):
            read(data, folder)


def shard_reader(task: str, transform: Any, classes: list[str]) -> Callable[[bytes, Path], Any]:
    """The first training shard of a data set of two rows: every column, as batches, counted, and as a page."""

    def read(data: bytes, folder: Path) -> None:
        store = open_store(str(folder / "store"))
        os.environ["TRIMTAB_CACHE"] = str(folder / "cache")
        shard = FileEntry(path="train-00000.parquet", bytes=len(data), sha256=store.blobs.put(data))
        counts = {"train": 2, "validation": 0, "test": 0}
        facts = {
            "task": task, "classes": classes, "counts": counts, "fingerprint": "0" * 64,
            "class_counts": {split: [1, 1] for split in SPLITS} if classes else {},
        }  # fmt: skip
        dataset = Dataset(Manifest(kind="dataset", metadata=facts, files=(shard,)), store)
        rows = get_task(task).rows
        for row in dataset.iterate("train", columns=rows.schema.names):
            rows.target_key(row)
            rows.mix(row, len(classes))
        with closing(read_batches(dataset, "train", transform, batch_size=2)) as batches:
            collections.deque(batches, maxlen=0)
        render_page("data", [Section("", rows.samples(dataset))])

    return read


def manifest_text(tree: Any) -> bytes:
    """With the digest of what it says, where it says something: whoever may write the store computes it as well."""
    try:
        found = dict(json.loads(json.dumps(tree)))
        files = tuple(FileEntry(**entry) for entry in found["files"])
        found["digest"] = Manifest(kind=str(found["kind"]), metadata=found["metadata"], files=files).digest
        return json.dumps(found).encode()
    except (ValueError, TypeError, KeyError, AttributeError):  # what cannot be a manifest is written as it is
        return json.dumps(tree).encode("utf-8", "surrogatepass")


DATASET_MANIFEST = {
    "format": 1,
    "kind": "dataset",
    "files": [{"path": f"{name}-00000.parquet", "bytes": 9, "sha256": "0" * 64} for name in SPLITS],
    "metadata": {
        "task": "classification", "classes": ["a", "b"], "counts": {"train": 2, "validation": 1, "test": 1},
        "class_counts": {"train": [1, 1], "validation": [1, 0], "test": [0, 1]}, "fingerprint": "0" * 64,
        "shard_rows": {"train": [2], "validation": [1], "test": [1]}, "description": "synthetic", "licence": "MIT",
        "slices": {"camera": {"night": {"train": 1, "validation": 0, "test": 0}}}, "levels": [0, 4095],
        "palette": [[0, 0, 0], [1, 2, 3]], "languages": ["en", "pt-BR"],
        "near_duplicates": {"grouped": True, "rows": 2, "groups": 1, "in_training": {"test": 1}},
    },
}  # fmt: skip
MODEL_MANIFEST = {
    "format": 1,
    "kind": "model",
    "files": [{"path": "weights.safetensors", "bytes": 9, "sha256": "0" * 64}],
    "metadata": {
        "stage": "fine_tune", "dataset": "0" * 64, "model": "1" * 64,
        "general": {"rows": [{"text": "One.", "translation": ""}], "answers": ["Um."], "state": {"general_state": "2"}},
    },
}  # fmt: skip
RUNG_MANIFEST = {
    "format": 1,
    "kind": "rung",
    "files": [{"path": "0/model/weights.safetensors", "bytes": 9, "sha256": "0" * 64}],
    "metadata": {"packed": {"0/model": {"kind": "model", "metadata": {"stage": "distill"}}}},
}


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def parquet_as_stored(task: str, columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    table = pa.table(columns, schema=get_task(task).rows.schema)
    pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=False)
    return file.getvalue()


def lines(rows: Any) -> bytes:
    listed = rows if isinstance(rows, list) else [rows]
    return b"\n".join(json.dumps(row).encode("utf-8", "surrogatepass") for row in listed)


DIGESTS = {"digest": ["0" * 64, "1" * 64], "source": ["a", "b"]}
SHARDS = {
    "classification": {"image": [PICTURE] * 2, "label": pa.array([0, 1], pa.int32()), **DIGESTS},
    "segmentation": {"image": [PICTURE] * 2, "mask": [encode(np.eye(2, dtype=np.uint8))] * 2, **DIGESTS},
    "translation": {"text": ["One.", "Two."], "translation": ["Um.", "Dois."], **DIGESTS},
}
PREPROCESS = Preprocess(image_size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Characters:
    """A vocabulary of code points."""

    eos = 0
    to_files = staticmethod(dict)
    encode = encode_target = staticmethod(lambda text: [*map(ord, text), 0])


TRANSFORMS: dict[str, Any] = {
    "classification": LabelledImages(preprocess=PREPROCESS),
    "segmentation": MaskedImages(preprocess=PREPROCESS, augmentation=Augmentation(), classes=2),
    "translation": SentencePairs(vocabulary=Characters(), full_size=True),  # type: ignore[arg-type]
}

ROWS = [{"image": "a.png", "label": "x", "split": "train"}, {"image": "b.png", "label": "y"}, {"path": "c", "label": 3}]
COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 2, "width": 2},
        {"id": 2, "file_name": "b.png", "height": 2, "width": 2},
    ],
    "categories": [{"id": 1, "name": "thing"}, {"id": 7, "name": "other"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]},
        {"image_id": 2, "category_id": 7, "segmentation": {"size": [2, 2], "counts": [1, 2, 1]}},
        {"image_id": 2, "category_id": 7, "segmentation": {"size": [2, 2], "counts": "121"}},
    ],
}
OUTPUT = {
    "parameterValues": {"text": "x", "n": 3},
    "artifacts": {
        "out": {
            "artifacts": [
                {"name": "out", "uri": "/x/out", "metadata": {"a": 1.5, "b": [1, {"c": "d"}]}, "custom_path": ""}
            ]
        }
    },
}
CATALOG = {
    "backbones": {
        "mine": {
            "architecture": "timm:resnet18", "weights": "file:w.safetensors", "sha256": "0" * 64, "licence": "MIT",
            "image_size": 96, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "parameters": 5, "mapping": "order",
        },
        "resnet18": {"weights": "s3://mirror/x.pth"},
    }
}  # fmt: skip
CSV = b'path,label,split\na.png,x,train\nb.png,y,test\n"c,""d",z,\n'
JSONL = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)

TMX = (
    b'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><body>'
    b'<tu><tuv xml:lang="en"><seg>one <ph>%s</ph></seg></tuv><tuv xml:lang="pt"><seg>um</seg></tuv></tu></body></tmx>'
)
PO = b"""msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

#, fuzzy
msgctxt "c"
msgid "one"
msgid_plural "more"
msgstr[0] "um\\x41"
msgstr[1] ""
"mais"
"""
MO = struct.pack("<7I", 0x950412DE, 0, 1, 28, 36, 0, 0) + struct.pack("<4I", 3, 44, 2, 48) + b"one\0um\0"

TARGETS = {
    "output": Target(read=read_output, trees=(OUTPUT,), blobs=(json.dumps(OUTPUT).encode(),)),
    "csv": Target(read=table_reader(".csv", ClassificationRows()), blobs=(CSV, CSV.replace(b",", b"\t"))),
    "jsonl": Target(
        read=table_reader(".jsonl", ClassificationRows()), trees=(ROWS,), blobs=(JSONL,), text=lines,
    ),
    "parquet": Target(
        read=table_reader(".parquet", ClassificationRows()),
        blobs=(
            parquet(image=[PICTURE, FOLDER_FILES["b.png"]] * 3, label=["x", "y"] * 3),
            parquet(image=[{"bytes": PICTURE, "path": "a"}, {"bytes": None, "path": "b.png"}], label=[0, 1]),
            parquet(path=["a.png", "b.png"] * 50, label=pa.array(["x", "y"] * 50).dictionary_encode()),
        ),
    ),
    "masks": Target(
        read=table_reader(".parquet", SegmentationRows()),
        blobs=(parquet(image=[PICTURE, PICTURE], mask=[PICTURE, FOLDER_FILES["b.png"]]),),
    ),
    "coco": Target(read=table_reader(".json", SegmentationRows()), trees=(COCO,), blobs=(json.dumps(COCO).encode(),)),
    "classes": Target(
        read=read_class_list,
        trees=({"a": 0, "b": 9}, ["a", "b"], {"a": [0, 0, 0], "b": [9, 9, 9]}, {"0": "a", "9": "b"}),
    ),
    "catalog": Target(
        read=read_catalog, trees=(CATALOG,), blobs=(yaml.safe_dump(CATALOG).encode(),),
        text=lambda tree: yaml.safe_dump(tree, allow_unicode=False).encode("utf-8", "surrogatepass"),
    ),
    "tmx": Target(read=read_pairs(".tmx"), blobs=(TMX, TMX.replace(b"UTF-8", b"cp1252"))),
    "catalogs": Target(read=read_pairs(".po"), blobs=(PO, MO, PO.replace(b"UTF-8", b"EUC-JP"))),
    "manifest": Target(
        read=read_written_manifest, trees=(DATASET_MANIFEST, MODEL_MANIFEST, RUNG_MANIFEST), text=manifest_text,
        blobs=(manifest_text(DATASET_MANIFEST),),
    ),
    "documents": Target(
        read=read_documents, trees=tuple(document for document, _ in DOCUMENTS.values()),
        blobs=tuple(json.dumps(document).encode() for document, _ in DOCUMENTS.values()),
    ),
    **{
        f"shard-{task}": Target(
            read=shard_reader(task, TRANSFORMS[task], [] if task == "translation" else ["a", "b"]),
            blobs=(parquet(**columns), parquet_as_stored(task, columns)),
        )
        for task, columns in SHARDS.items()
    },
}  # fmt: skip


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] = rng.randrange(256)
            case 1 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.choice([1, 1, 4, 50])]
            case 3:
                changed[at:at] = rng.choice(BYTES)
            case 4:
                del changed[at:]
            case _:
                start = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[start : start + rng.choice([1, 4, 40])]
    return bytes(changed)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from places(tree[key])


def damaged_tree(rng: random.Random, tree: Any) -> Any:
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        found = list(places(tree))
        if not found or rng.random() < 0.02:
            return copy.deepcopy(rng.choice(VALUES))
        holder, key = rng.choice(found)
        match rng.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(TEXTS)] = holder.pop(key)
            case 2:
                copied = list(places(tree))
                other, at = rng.choice(copied)
                holder[key] = json.loads(json.dumps(other[at]))
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))  # a later damage may change it
    return tree


def case_of(target: Target, seed: int) -> bytes:
    rng = random.Random(seed)
    if target.trees and (not target.blobs or rng.random() < 0.7):
        return target.text(damaged_tree(rng, rng.choice(target.trees)))
    return damaged_bytes(rng, rng.choice(target.blobs))


def outcome(target: Target, data: bytes, folder: Path) -> str:
    """`read`, `refused`, or what is wrong."""
    try:
        with redirect_stdout(io.StringIO()):
            target.read(data, folder)
    except UserError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST_MESSAGE:
            return f"not one line: {message[:200]!r}"
        return _refused(error)
    except UnreadableError as error:
        return _refused(error)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:150]}"
    return "read"


def _refused(error: BaseException | None) -> str:
    """A refusal for want of memory is the limit's work, not the reader's: on a larger machine it would take more."""
    while error is not None:
        if isinstance(error, MemoryError):
            return f"no bound of its own: {str(error)[:150]}"
        error = error.__context__
    return "refused"


def child(name: str, first: int, place: str, said: Any) -> None:
    """Runs `CHILD_CASES` cases within the limits; says each seed before, and what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for seed in range(first, first + CHILD_CASES):
        said.send((seed, None))
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        signal.alarm(BLOCKED_SECONDS)
        with tempfile.TemporaryDirectory(dir=place) as folder:
            try:
                data = case_of(TARGETS[name], seed)
            except (ValueError, TypeError, KeyError, IndexError, yaml.YAMLError):
                data = b""
            began = time.process_time()
            ended = outcome(TARGETS[name], data, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            said.send((seed, (ended, time.process_time() - began, peak)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def fuzz(name: str, seconds: float, seed: int, keep: Path) -> int:
    """Fuzzes one target; the number of different findings."""
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, int] = {}
    slowest, largest = 0.0, 0
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="trimtab-fuzz-") as place:
        while time.monotonic() < until:
            hears, said = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(target=child, args=(name, seed, place, said))
            process.start()
            said.close()
            at = seed
            try:
                while time.monotonic() < until + BLOCKED_SECONDS:
                    at, said_of_it = hears.recv()
                    if said_of_it is not None:
                        ended, seconds_taken, peak = said_of_it
                        slowest, largest = max(slowest, seconds_taken), max(largest, peak)
                        counts[ended.partition(":")[0]] += 1
                        if ended not in ("read", "refused"):
                            findings.setdefault(ended, at)
                    if time.monotonic() > until:
                        break
            except EOFError:
                process.join()
                if process.exitcode:
                    how = signal.Signals(-process.exitcode).name if process.exitcode < 0 else str(process.exitcode)
                    findings.setdefault(f"the child ended: {how}", at)
                    counts[how] += 1
            process.kill()
            process.join()
            seed = at + 1
    for finding, at in findings.items():
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{name}-{at}").write_bytes(case_of(TARGETS[name], at))
        print(f"{name} {at}: {finding}")
    print(
        f"{name}: {dict(counts)}; slowest {slowest:.1f} s, resident at most {largest / 2**20:.0f} MiB, "
        f"{MEMORY_BYTES >> 20} MiB of addresses allowed",
        flush=True,
    )
    return len(findings)


def show(path: Path) -> None:
    """The traceback of a kept case, whose file is called TARGET-SEED."""
    name = path.name.rpartition("-")[0]
    print(base64.b64encode(path.read_bytes()[:300]).decode())
    with tempfile.TemporaryDirectory() as folder:
        TARGETS[name].read(path.read_bytes(), Path(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--target", choices=[*TARGETS], action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--show", type=Path, help="read one kept case again")
    chosen = parser.parse_args()
    if chosen.show:
        show(chosen.show)
        sys.exit(0)
    sys.exit(
        1 if sum(fuzz(name, 60 * chosen.minutes, chosen.seed, chosen.keep) for name in chosen.target or TARGETS) else 0
    )
