"""The dataset artifact: Parquet shards, one file set a split, read back one shard at a time while the next ones come.

Shards are named ``train-00000.parquet``, ``validation-00000.parquet``, ``test-00000.parquet``; their columns are those
of the task's rows (`rows`), and those of the slices if there are any (`slices`).
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from io import FileIO
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.core.artifacts import listings
from components.core.artifacts.entries import FileEntry, Listing
from components.core.artifacts.manifest import Manifest, publish_entries, read_file, read_manifest
from components.core.data.background_fetch import Arrival, arriving
from components.core.data.group_keys import read_group_keys
from components.core.data.ingestion.parquet_sizes import check_whole_size
from components.core.data.rows import StoredRows
from components.core.data.shard_cache import ShardCache
from components.core.data.slices import SliceCounts, row_slices, sliced_schema
from components.core.data.stated_facts import check_facts
from components.core.data.stored_columns import check_columns
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store.keys import canonical_json

if TYPE_CHECKING:
    from components.core.store import Store

SPLITS = ("train", "validation", "test")
SHARD_BYTES = 60 * 1000 * 1000
"""Row bytes after which a shard is closed: with Parquet's own bookkeeping a file stays below 64 MB."""

SHARDS_AHEAD = 8
"""Shards that are on their way, or here already, while one is read: one connection to S3 gives 50 to 100 MB/s."""

_ROW_GROUP_BYTES = 4 * 1000 * 1000
_ROW_GROUP_ROWS = 2048
_SHARD_ROWS = "shard_rows.json"
"""Rows of each shard per split, of a data set with listings; a smaller one has them in the manifest."""

_SHARD_NAME = re.compile(r"(train|validation|test)-(\d{5,})\.parquet")
_TAKE_ROWS = 256
_MOST_ROWS = SHARD_BYTES // 32
"""Of a shard: each row has at least its digest, and its place in a pass is held in memory."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ShardWithRows:
    """A shard that is in the store already: its file, and of its rows at least `digest` and what the target needs."""

    entry: FileEntry
    rows: list[dict[str, Any]]


class Dataset:
    """A dataset in the store, opened by `open_dataset`; a shard is fetched to local disk when it is first needed.

    Attributes:
        task: name of the task, e.g. "classification".
        classes: class names; a row's label is an index into it.
        counts: rows per split.
        class_counts: what each split has of each class, as the task counts it (images, pixels); empty without classes.
        slices: rows of each slice: column → value → split → rows; empty for a data set without slices.
        fingerprint: sha256 over the sorted content digests with their targets, and the classes. It does not depend on
            how the rows are split, ordered or sharded.
        description: remark on the rows for wherever a figure of them is shown, such as that they are synthetic; mostly
            empty.
        manifest: what it was opened from.

    Raises:
        UserError: the manifest lacks one of these, or has another kind of it, or names and remarks that are not one
            short line; or its rows per shard do not fit its shards and counts.
    """

    def __init__(self, manifest: Manifest, store: "Store") -> None:
        facts = manifest.metadata
        check_facts(facts, SPLITS)
        self.manifest = manifest
        self.task: str = facts["task"]
        self.classes: list[str] = facts["classes"]
        self.counts: dict[str, int] = facts["counts"]
        self.class_counts: dict[str, list[int]] = facts["class_counts"]
        self.slices: dict[str, dict[str, dict[str, int]]] = facts.get("slices", {})
        self.fingerprint: str = facts["fingerprint"]
        self.description: str = facts.get("description", "")
        self._store, self._cache = store, ShardCache(store)
        if not manifest.listings:
            self._shard_rows  # noqa: B018  (a manifest that contradicts itself is refused before anything is read)

    @cached_property
    def _shards(self) -> dict[str, list[FileEntry]]:
        """Shards of each split. Listings, of a large data set, are read when this is first asked for."""
        shards: dict[str, list[tuple[int, FileEntry]]] = {split: [] for split in SPLITS}
        for entry in listings.listed_files(self.manifest, self._store):
            if match := _SHARD_NAME.fullmatch(entry.path):
                shards[match[1]].append((int(match[2]), entry))
        # By number: as text, shard 100000 would come before 20000.
        return {split: [entry for _, entry in sorted(found, key=itemgetter(0))] for split, found in shards.items()}

    @cached_property
    def _shard_rows(self) -> dict[str, list[int]]:
        """The rows of each shard per split; empty when the manifest was written before they were stated."""
        stated = self._stated_rows()
        if stated is None:
            return {}
        for split in SPLITS:
            rows = stated.get(split) if isinstance(stated, dict) else None
            shards, total = len(self._shards[split]), self.counts[split]
            valid = isinstance(rows, list) and all(type(count) is int and 0 < count <= _MOST_ROWS for count in rows)
            if rows is None or not valid or (len(rows), sum(rows)) != (shards, total):
                raise UserError(
                    f"the dataset's manifest contradicts itself: its shard_rows do not fit the {shards} shards and "
                    f"{total} rows of {split}; prepare the data again"
                )
        return dict(stated)

    def _stated_rows(self) -> Any:
        if not self.manifest.listings:
            return self.manifest.metadata.get("shard_rows")
        try:
            return parse_json(read_file(self.manifest, _SHARD_ROWS, self._store))
        except ValueError as error:
            raise UserError(f"{_SHARD_ROWS} of the data set cannot be read: {error}; prepare the data again") from None

    def rows(self, split: str) -> int:
        """Number of rows in `split`; UserError for an unknown split."""
        self._known(split)
        return self.counts[split]

    def group_keys(self) -> dict[str, str]:
        """Digest of each test row in a group → the group's key, sha256 in hex; empty without groups."""
        return read_group_keys(self.manifest, self._store)

    def iterate(
        self,
        split: str,
        *,
        seed: int | None = None,
        epoch: int = 0,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Rows as dicts; one shard in memory at a time. For order, `seed`, `epoch` and `limit` see `order`.

        Args:
            columns: which columns to read; None = all.
        """
        order = self.order(split, seed=seed, epoch=epoch, limit=limit)
        with closing(self.stream(split, order, columns=columns)) as shards:
            for _, rows, read in shards:
                table = read()
                for start in range(0, len(rows), _TAKE_ROWS):
                    yield from table.take(rows[start : start + _TAKE_ROWS]).to_pylist()

    def order(
        self, split: str, *, seed: int | None = None, epoch: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The order of one pass as (shard index, row indices in that shard).

        Args:
            seed: None = stored order; else shards, and rows inside each shard, are permuted by (seed, epoch).
                Stored order is the order of the content digests, so a shard is a random sample of its split.
            limit: at most this many rows, spread evenly over the stored order; the same rows in every epoch.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        lengths = self.shard_rows(split)
        ends = list(accumulate(lengths, initial=0))
        rng = None if seed is None else np.random.default_rng([seed, epoch])
        shards = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
        for shard in shards.tolist():
            rows = _spread(ends[shard], ends[shard + 1], total=ends[-1], limit=limit)
            if len(rows):
                yield shard, rows if rng is None else rng.permutation(rows)

    def read(self, split: str, shard: int, *, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard as a table with the given columns (None = all).

        Raises:
            UserError: it is no Parquet file with such columns and rows (`stored_columns`), or decodes to much more than
                it has bytes.
        """
        with self._cache.open(self._shards[split][shard]) as file:
            return self._table(file, split, shard, columns)

    def stream(
        self,
        split: str,
        wanted: Iterable[tuple[int, T]],
        *,
        columns: Sequence[str] | None = None,
        needed: Callable[[T], bool] = lambda _: True,
    ) -> Generator[tuple[int, T, Callable[[], pa.Table]]]:
        """Shards in the order of `wanted`, each fetched in the background while those before it are read.

        Close it: it leaves no thread and no open file then.

        Args:
            split: name of the split.
            wanted: shard number, and anything that belongs to it.
            columns: which columns to read; None = all.
            needed: whether the shard will be read; asked some shards early, about what belongs to it.

        Yields:
            Shard number, what belongs to it, and what reads the table, at most once and before the next is asked for.

        Raises:
            UserError: unknown split. The reading of a table raises as `read` does.
        """
        self._known(split)
        with closing(self._arriving(split, wanted, needed)) as arrivals:
            for arrival in arrivals:
                shard, payload = arrival.item

                def read(arrival: Arrival = arrival, shard: int = shard) -> pa.Table:
                    with arrival.open() as file:
                        return self._table(file, split, shard, columns)

                yield shard, payload, read

    def shards(self, split: str, *, columns: Sequence[str]) -> Iterator[ShardWithRows]:
        """Each shard's file with these columns of its rows, in stored order."""
        self._known(split)
        with closing(self.stream(split, self._all(split), columns=columns)) as shards:
            for _, entry, read in shards:
                yield ShardWithRows(entry=entry, rows=read().to_pylist())

    def shard_rows(self, split: str) -> list[int]:
        """Number of rows in each shard of `split`; an old manifest does not say, and then all are fetched for it."""
        self._known(split)
        if split not in self._shard_rows:
            rows: list[int] = []
            with closing(self._arriving(split, self._all(split), lambda _: True)) as arrivals:
                for arrival in arrivals:
                    with arrival.open() as file, self._readable(split, len(rows)):
                        rows.append(pq.read_metadata(file).num_rows)
                    if rows[-1] > _MOST_ROWS:
                        raise self._unreadable(split, len(rows) - 1, f"it says that it has {rows[-1]:,} rows")
            self._shard_rows[split] = rows
        return self._shard_rows[split]

    def _all(self, split: str) -> Iterator[tuple[int, FileEntry]]:
        return enumerate(self._shards[split])

    def _arriving(
        self, split: str, wanted: Iterable[tuple[int, T]], needed: Callable[[T], bool]
    ) -> Generator[Arrival[tuple[int, T]]]:
        entries = self._shards[split]
        largest = max((entry.bytes for entry in entries), default=1) or 1
        return arriving(
            wanted,
            lambda item, stopped: self._cache.open(entries[item[0]], stopped=stopped),
            needed=lambda item: needed(item[1]),
            # Open shards cannot make room: what is ahead and what is read take no more than half of it.
            num_ahead=max(0, min(SHARDS_AHEAD, self._cache.limit() // (2 * largest) - 1)),
        )

    def _table(self, file: FileIO, split: str, shard: int, columns: Sequence[str] | None) -> pa.Table:
        with self._readable(split, shard):
            metadata = pq.read_metadata(file)
            self._check_rows(metadata.num_rows, split, shard)
            check_whole_size(metadata, file, columns)
            table = pq.read_table(file, columns=None if columns is None else list(columns))
            self._check_rows(table.num_rows, split, shard)
            check_columns(table, len(self.classes))
        return table

    def _check_rows(self, rows: int, split: str, shard: int) -> None:
        if split in self._shard_rows and rows != self._shard_rows[split][shard]:
            raise UserError(
                f"{self._shards[split][shard].path} holds {rows} rows where the dataset's manifest says "
                f"{self._shard_rows[split][shard]}; prepare the data again"
            )

    @contextmanager
    def _readable(self, split: str, shard: int) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(split, shard, str(error)) from None

    def _unreadable(self, split: str, shard: int, reason: str) -> UserError:
        return UserError(f"{self._shards[split][shard].path} cannot be read: {reason}; prepare the data again")

    def _known(self, split: str) -> None:
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}; available: {', '.join(SPLITS)}")


def _spread(first: int, stop: int, *, total: int, limit: int | None) -> np.ndarray:
    """Which rows of a shard that holds rows `first` to `stop` of a split are among the `limit` wanted ones.

    Wanted are the rows ⌊k · total / limit⌋: one formula a shard, so that no pass needs memory for all rows.
    """
    if limit is None or limit >= total:
        return np.arange(stop - first)
    low, high = -(-first * limit // total), -(-stop * limit // total)
    return np.arange(low, high) * total // limit - first


def open_dataset(artifact_path: str | Path, store: "Store") -> Dataset:
    """Open the dataset artifact at `artifact_path`; nothing of it is fetched before it is read.

    Raises:
        UserError: no manifest there, or it is not a dataset.
    """
    return Dataset(read_manifest(artifact_path, kind="dataset"), store)


def write_dataset(
    artifact_path: str | Path,
    *,
    rows: StoredRows,
    classes: Sequence[str],
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    store: "Store",
    metadata: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    kept: Mapping[str, Sequence[ShardWithRows]] | None = None,
    slice_columns: Sequence[str] = (),
) -> Manifest:
    """Write rows as shards into the store, then the manifest; never more than one row group in memory.

    With more than `listings.LISTED_FILES` shards, the manifest names them through listings.

    Args:
        artifact_path: directory of the KFP artifact.
        rows: what the task says of its rows: columns, targets, counts.
        classes: class names in the order of their numbers.
        splits: rows of each of `SPLITS`, consumed one split after another. The order given is the stored order; give
            it in the order of the content digests, so that a shard is a random sample.
        store: where the shards go. Each is uploaded when it is full, and then removed from local disk.
        metadata: further deterministic facts for the manifest.
        extra_files: further small files of the artifact, e.g. a quarantine report.
        kept: shards of an earlier data set that come before the rows of their split and are not written again.
        slice_columns: of the user's table; rows, and those of kept shards, have `shard_column` of each.

    Raises:
        ValueError: unknown split.
    """
    if unknown := set(splits) - set(SPLITS):
        raise ValueError(f"unknown splits {sorted(unknown)}; known: {', '.join(SPLITS)}")
    tally = Tally(rows, len(classes), slice_columns)
    schema = sliced_schema(rows.schema, slice_columns)
    entries: list[FileEntry] = []
    shard_rows: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="trimtab-shards-") as scratch:
        for split in SPLITS:
            before = (kept or {}).get(split, ())
            for number, shard in enumerate(before):
                entries.append(replace(shard.entry, path=_shard_name(split, number)))
                for known in shard.rows:
                    tally.add(split, known)
            with _ShardWriter(split, schema, Path(scratch), store, first=len(before)) as writer:
                for row in splits.get(split, ()):
                    tally.add(split, row)
                    writer.add(row)
            entries.extend(writer.entries)
            shard_rows[split] = [*(len(shard.rows) for shard in before), *writer.rows]
    extra = dict(extra_files or {})
    listed: list[Listing] = []
    if len(entries) > listings.LISTED_FILES:
        listed, entries = listings.write_listings(entries, store), []
        extra[_SHARD_ROWS] = canonical_json(shard_rows)
    for name, content in extra.items():
        entries.append(FileEntry(path=name, bytes=len(content), sha256=store.blobs.put(content)))
    facts = {
        **(metadata or {}),
        "task": rows.task,
        "classes": list(classes),
        "counts": tally.counts,
        "class_counts": tally.class_counts,
        # With them the order of a pass is known before any shard is there.
        **({} if listed else {"shard_rows": shard_rows}),
        **({"slices": tally.slices.to_json(SPLITS)} if slice_columns else {}),
        "fingerprint": tally.fingerprint(classes),
    }
    return publish_entries(artifact_path, kind="dataset", entries=entries, metadata=facts, listings=listed)


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.parquet"


class Tally:
    """Counts and fingerprint while rows pass by: 32 bytes per row."""

    def __init__(self, rows: StoredRows, num_classes: int, slice_columns: Sequence[str] = ()) -> None:
        self._rows, self._num_classes = rows, num_classes
        self.slices = SliceCounts(slice_columns)
        self._keys = bytearray()
        self.counts = dict.fromkeys(SPLITS, 0)
        self._class_counts = {split: np.zeros(num_classes, dtype=np.int64) for split in SPLITS}
        self._counts_classes = num_classes > 0

    def add(self, split: str, row: Mapping[str, Any]) -> None:
        self.counts[split] += 1
        counted = self._rows.class_counts(row, self._num_classes)
        if counted is None:
            self._counts_classes = False
        else:
            self._class_counts[split] += counted
        self.slices.add(row_slices(row, self.slices.columns), split)
        self._keys += hashlib.sha256(bytes.fromhex(row["digest"]) + self._rows.target_key(row)).digest()

    @property
    def class_counts(self) -> dict[str, list[int]]:
        """Per split what each class has; empty for a task without classes."""
        return {split: counts.tolist() for split, counts in self._class_counts.items()} if self._counts_classes else {}

    def fingerprint(self, classes: Sequence[str]) -> str:
        words = np.frombuffer(self._keys, dtype=">u8").reshape(-1, 4)
        rows = words[np.lexsort(words.T[::-1])]
        names = "".join(f"{name}\n" for name in classes).encode()
        return hashlib.sha256(names + b"\0" + rows.tobytes()).hexdigest()


class _ShardWriter:
    """Appends rows to Parquet files of bounded size, and hands each full file to the store."""

    def __init__(self, split: str, schema: pa.Schema, scratch: Path, store: "Store", *, first: int) -> None:
        self.entries: list[FileEntry] = []
        self.rows: list[int] = []
        """Rows of each of `entries`."""
        self._first = first
        self._split, self._schema, self._scratch, self._store = split, schema, scratch, store
        self._rows: list[Mapping[str, Any]] = []
        self._group_bytes = self._shard_bytes = self._shard_rows = 0
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None:
            self._close_shard()
        elif self._file is not None:
            self._file.close()

    def add(self, row: Mapping[str, Any]) -> None:
        size = sum(len(value) if isinstance(value, bytes | str) else 8 for value in row.values())
        if self._shard_bytes and self._shard_bytes + size > SHARD_BYTES:
            self._close_shard()
        self._rows.append(row)
        self._shard_rows += 1
        self._group_bytes += size
        self._shard_bytes += size
        if self._group_bytes >= _ROW_GROUP_BYTES or len(self._rows) >= _ROW_GROUP_ROWS:
            self._flush()

    @property
    def _path(self) -> Path:
        return self._scratch / _shard_name(self._split, self._first + len(self.entries))

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            # Content is compressed already; a dictionary of unique values would only cost memory. Statistics would
            # repeat the smallest and the largest image of each row group twice, if below 4 KiB; no reader uses them.
            self._file = pq.ParquetWriter(
                self._path, self._schema, compression="none", use_dictionary=False, write_statistics=False
            )
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._group_bytes = [], 0

    def _close_shard(self) -> None:
        self._flush()
        if self._file is None:
            return
        self._file.close()
        path = self._path
        digest = self._store.blobs.put(path)
        self.entries.append(FileEntry(path=path.name, bytes=path.stat().st_size, sha256=digest))
        self.rows.append(self._shard_rows)
        path.unlink()
        self._file, self._shard_bytes, self._shard_rows = None, 0, 0
