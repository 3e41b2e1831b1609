"""Rows that a model was trained or chosen on: measured on those, it looks better than it is."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest, read_file
from components.core.data.dataset import Dataset
from components.core.errors import UserError
from components.core.json_documents import parse_json

if TYPE_CHECKING:
    from components.core.store import Store

SEEN = "seen.json"
"""A JSON list of digests, in a drift artifact, and in a model bundle that was taken over from the store."""

TRAINED_ON = "trained_on"
"""Metadata of a model bundle that was taken over: digest of the data set that it was made with; None if that, or what
it was made with before, is unknown."""

LOOKED_AT = ("train", "validation")
"""Splits that a model is made with; the test split decides, and nothing that comes before may look at it."""


def seen_in_test(dataset: Dataset, earlier: Iterable[Dataset]) -> list[str]:
    """Digests of the test rows that a data set before held for training or validation, sorted.

    Whoever was made from that data set knows these rows, and would be judged too well on them.
    """
    test = {row["digest"] for row in dataset.iterate("test", columns=("digest",))}
    distinct = {one.manifest.digest: one for one in earlier}
    return sorted(
        {
            row["digest"]
            for one in distinct.values()
            for split in LOOKED_AT
            for row in one.iterate(split, columns=("digest",))
            if row["digest"] in test
        }
    )


def read_seen(manifest: Manifest, store: "Store") -> frozenset[str]:
    """Read the digests in an artifact's `SEEN`.

    Raises:
        UserError: the artifact has no such file, or it is not a JSON list of digests.
    """
    where = f"{SEEN} of the {manifest.kind} artifact"
    content = read_file(manifest, SEEN, store)
    try:
        found = parse_json(content)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}; run the task that made it again") from None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UserError(f"{where} must be a list of digests; run the task that made it again")
    return frozenset(found)
