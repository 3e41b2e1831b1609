"""The bytes of artifacts: every blob is read, and of a dataset every row."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.listings import listed_files
from components.core.artifacts.manifest import Manifest
from components.core.data.dataset import SPLITS, Tally
from components.core.data.ingestion.parquet_sizes import check_whole_size
from components.core.data.stated_facts import check_facts
from components.core.errors import UserError
from components.core.store import BlobDamaged, BlobMissing, NotFound, Store
from components.core.tasks import get_task

_BATCH_ROWS = 256


class Bytes:
    """Reads blobs, each once however many artifacts name it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str] = {}

    def problems(self, manifest: Manifest) -> list[str]:
        """Problems of an artifact's files; a dataset's rows are read too."""
        problems: list[str] = []
        try:
            tally = _tally_of(manifest)
            files = listed_files(manifest, self._store)
        except (UserError, NotFound) as error:
            return [str(error)]
        for entry in files:
            shard = tally is not None and entry.path.endswith(".parquet")
            if entry.sha256 not in self._known or shard:
                self._known[entry.sha256] = self._read(entry, tally if shard else None)
            if problem := self._known[entry.sha256]:
                problems.append(f"{entry.path}: {problem}")
        if tally is not None and not problems:
            stated, found = manifest.metadata.get("fingerprint"), tally.fingerprint(manifest.metadata["classes"])
            if stated != found:
                problems.append(f"the rows have the fingerprint {found[:12]}, not {str(stated)[:12]}")
        return problems

    def _read(self, entry: FileEntry, tally: Tally | None) -> str:
        with tempfile.TemporaryDirectory(prefix="trimtab-lineage-") as folder:
            path = Path(folder, "file")
            try:
                self._store.blobs.fetch(entry.sha256, path)
            except BlobMissing:
                return f"its blob {entry.sha256[:12]} is not in the store"
            except BlobDamaged:
                return f"its blob {entry.sha256[:12]} is damaged"
            if path.stat().st_size != entry.bytes:
                return f"it has {path.stat().st_size} bytes instead of {entry.bytes}"
            return "" if tally is None else _read_rows(path, entry.path.split("-")[0], tally)


def _tally_of(manifest: Manifest) -> Tally | None:
    """None for anything but a dataset of a known task; UserError for one whose manifest cannot be true."""
    if manifest.kind != "dataset":
        return None
    check_facts(manifest.metadata, SPLITS)
    try:
        return Tally(get_task(manifest.metadata["task"]).rows, len(manifest.metadata["classes"]))
    except UserError:
        return None


def _read_rows(path: Path, split: str, tally: Tally) -> str:
    try:
        for row in _rows(path):
            if "image" in row and hashlib.sha256(row["image"]).hexdigest() != row["digest"]:
                return f"the row {row['digest'][:12]} holds an image with another sha256"
            tally.add(split, row)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, IndexError) as error:
        return f"its rows cannot be read: {type(error).__name__}: {error}"
    return ""


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb", buffering=0) as opened, pq.ParquetFile(path) as file:
        check_whole_size(file.metadata, opened, None)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield from batch.to_pylist()
