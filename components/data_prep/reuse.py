"""Which shards of an earlier data set still hold exactly what this one wants, so that only what is new is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from components.core.data.dataset import SHARD_BYTES, SPLITS, Dataset, ShardWithRows
from components.core.data.rows import StoredRows
from components.core.data.slices import row_slices, shard_column
from components.core.store import BlobMissing

if TYPE_CHECKING:
    from components.core.store import Store

MAX_SMALL_SHARDS = 100
"""Small shards of one split that are kept as they are; with more, all of them are rewritten as few large ones."""


@dataclass(frozen=True, kw_only=True)
class ReusedShards:
    """Shards by split, and the digests of the rows that they hold."""

    shards: dict[str, list[ShardWithRows]] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)


class Wanted(NamedTuple):
    """A row of the new data set: content digest, split, target's key, source, and its value of each slice column."""

    digest: str
    split: str
    target: bytes
    source: str
    slices: tuple[str | None, ...] = ()


def reusable_shards(previous: Dataset, wanted: Iterable[Wanted], stored: StoredRows) -> ReusedShards:
    """The shards of `previous` every row of which is wanted as it is: in that split, with that target, source, slices.

    A shard with one row that is not wanted any more is not kept; what is left of it is rewritten.

    Args:
        previous: with the same classes in the same order, and with the same slice columns.
        wanted: each row of the new data set.
        stored: what the task says of its rows.
    """
    rows = {row.digest: hash(row[1:]) for row in wanted}
    slices = tuple(previous.slices)
    columns = ["digest", "source", *stored.target_columns, *map(shard_column, slices)]

    def unchanged(split: str, row: Mapping[str, Any]) -> bool:
        now = hash((split, stored.target_key(row), row["source"], row_slices(row, slices)))
        return rows.get(row["digest"]) == now

    reused = ReusedShards()
    for split in SPLITS:
        found = previous.shards(split, columns=columns)
        shards = [shard for shard in found if all(unchanged(split, row) for row in shard.rows)]
        if sum(shard.entry.bytes < SHARD_BYTES // 2 for shard in shards) > MAX_SMALL_SHARDS:
            shards = [shard for shard in shards if shard.entry.bytes >= SHARD_BYTES // 2]
        reused.shards[split] = shards
        reused.digests.update(row["digest"] for shard in shards for row in shard.rows)
    return reused


def hold_shards(reused: ReusedShards, store: "Store") -> ReusedShards:
    """The same, if the store has all these shards and keeps them from now on; else none: they are rewritten.

    They may have been read from the local cache, and collected in the store.
    """
    try:
        store.blobs.hold([shard.entry.sha256 for shards in reused.shards.values() for shard in shards])
    except BlobMissing:
        return ReusedShards()
    return reused
