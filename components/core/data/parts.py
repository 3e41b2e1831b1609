"""Inspected parts of a data set as artifacts: several tasks write them, one merges them.

Files of a part: `rows-00000.arrow`, … (Arrow streams of raw rows, in the order of the spill's buckets), `found.json`.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, publish_entries, read_document
from components.core.data.collect import Collected, Part, SourceFacts
from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.labels import LONGEST_STORED, is_name
from components.core.data.slices import SliceCounts
from components.core.data.spill import Spill
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.store import Store

KIND = "part"
FILE_BYTES = 64 * 1000 * 1000
"""A file of rows is closed when it holds this many bytes; that is what a merge has in memory."""

_FOUND = "found.json"

_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError)
"""Errors that JSON and Arrow of another shape raise while they are read."""


def write_part(
    artifact_path: str | Path, part: Part, found: Collected, spill: Spill, buckets: Sequence[str], store: "Store"
) -> Manifest:
    """Write an inspected part; deterministic: a second attempt gives the same digest.

    Args:
        artifact_path: directory of the KFP artifact.
        part: which one it is.
        found: what `collect` gave.
        spill: the usable rows, in `buckets`.
        store: where the files go. Each is uploaded when it is full, and then removed from local disk.
    """
    entries: list[FileEntry] = []
    with tempfile.TemporaryDirectory(prefix="trimtab-rows-") as scratch:
        for number, batches in enumerate(_filled(spill, buckets)):
            entries.append(_put(batches, number, Path(scratch), store))
    content = json.dumps(_to_json(found)).encode()
    entries.append(FileEntry(path=_FOUND, bytes=len(content), sha256=store.blobs.put(content)))
    facts = {**asdict(part), "rows": found.splits.total(), "rejected": len(found.rejected)}
    return publish_entries(artifact_path, kind=KIND, entries=entries, metadata=facts)


def write_nothing(artifact_path: str | Path) -> Manifest:
    """An empty part, for data in one part: data_prep reads those itself, so that no row is written twice."""
    return publish_entries(artifact_path, kind=KIND, entries=[], metadata=asdict(Part()))


def merge_parts(parts: Sequence[Manifest], spill: Spill, slice_columns: Sequence[str], store: "Store") -> Collected:
    """Bring the rows of all parts into `spill`, one file of theirs after another, and add up what they found.

    The plan that is made of them is that of one task, since it depends on rows and not on their order, and rows of one
    name come in the order of the source.

    Raises:
        UserError: the parts are not those of one data set: one is missing or damaged, or the source has changed in
            between.
        StoreError: a file of a part is missing, or the store does not answer.
    """
    ordered = _in_order(parts)
    documents = [_document(manifest, store) for manifest in ordered]
    if any(document["source"] != documents[0]["source"] for document in documents):
        raise UserError(
            "the data changed while they were read: the parts differ in their declared classes, columns or "
            "splits; start again when the data no longer change"
        )
    try:
        first = documents[0]["source"]
        colours = {name: (rgb[0], rgb[1], rgb[2]) for name, rgb in first["colours"].items()}
        merged = Collected(source=SourceFacts(**{**first, "colours": colours}), slices=SliceCounts(slice_columns))
        for manifest, document in zip(ordered, documents, strict=True):
            _add(document, merged)
            _take_rows(manifest, spill, store)
        if not all(map(is_name, (*merged.source.classes, *merged.classes))):
            raise ValueError(f"a class has no name of at most {LONGEST_STORED} characters on one line")
    except _MALFORMED as error:
        raise error if isinstance(error, UserError) else _damaged(f"{type(error).__name__}: {error}") from None
    return merged


def _in_order(parts: Sequence[Manifest]) -> list[Manifest]:
    numbers = [(manifest.metadata.get("number"), manifest.metadata.get("of")) for manifest in parts]
    if sorted(map(repr, numbers)) != sorted(repr((number, len(parts))) for number in range(len(parts))):
        said = ", ".join(
            f"{number + 1 if isinstance(number, int) else number!r} of {of!r}"
            for number, of in sorted(numbers, key=repr)
        )
        raise UserError(f"the parts do not add up to one data set: {said}")
    return sorted(parts, key=lambda manifest: int(manifest.metadata["number"]))


def _document(manifest: Manifest, store: "Store") -> dict[str, Any]:
    found = read_document(manifest, _FOUND, store, most_bytes=None)
    if not isinstance(found.get("source"), dict):
        raise _damaged(f"{_FOUND} does not say what the source is")
    return found


def _damaged(reason: str) -> UserError:
    return UserError(f"a part of the data set is damaged ({reason}); inspect the data again")


def _filled(spill: Spill, buckets: Sequence[str]) -> Iterator[list[pa.RecordBatch]]:
    """The batches of the buckets, as many as fill a file; they stay on disk until they are read."""
    batches: list[pa.RecordBatch] = []
    num_bytes = 0
    for bucket in buckets:
        for batch in spill.table(bucket).to_batches():
            batches.append(batch)
            num_bytes += batch.nbytes
            if num_bytes >= FILE_BYTES:
                yield batches
                batches, num_bytes = [], 0
    if batches:
        yield batches


def _put(batches: Sequence[pa.RecordBatch], number: int, scratch: Path, store: "Store") -> FileEntry:
    path = scratch / f"rows-{number:05d}.arrow"
    with pa.ipc.new_stream(str(path), batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    entry = FileEntry(path=path.name, bytes=path.stat().st_size, sha256=store.blobs.put(path))
    path.unlink()
    return entry


def _take_rows(manifest: Manifest, spill: Spill, store: "Store") -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-rows-") as scratch:
        for entry in manifest.files:
            if entry.path == _FOUND:
                continue
            path = Path(scratch) / "rows.arrow"
            store.blobs.fetch(entry.sha256, path)
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as file:
                for batch in file:
                    spill.take(batch)
            path.unlink()


def _to_json(found: Collected) -> dict[str, Any]:
    return {
        "source": asdict(found.source),
        "classes": dict(found.classes),
        # Pairs, since "no given split" is no key of JSON.
        "splits": list(found.splits.items()),
        "slices": {column: list(values) for column, values in found.slices.counts.items()},
        "rejected": [[name, label, *rejection] for name, label, rejection in found.rejected],
    }


def _add(document: dict[str, Any], merged: Collected) -> None:
    merged.classes.update(document["classes"])
    merged.splits.update(dict(document["splits"]))
    for column, values in document["slices"].items():
        for value in values:
            merged.slices.add(value if column == name else None for name in merged.slices.columns)
    merged.rejected.extend((name, label, Rejection(*why)) for name, label, *why in document["rejected"])
