"""New rows since the reference data set, and whether they look like it; the content of drift.json."""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.artifacts.manifest import read_document
from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import SPLITS, Dataset
from components.core.data.seen_rows import LOOKED_AT
from components.core.errors import UserError
from components.core.tasks import get_task
from components.drift.embeddings import embed
from components.drift.features import feature_drift
from components.drift.labels import label_shift

if TYPE_CHECKING:
    from components.core.store import Store

FORMAT = 1

_FEWEST = 8
_QUARANTINE = "quarantine.json"


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The new rows in `LOOKED_AT`, and the reference's rows there; numbers are over all splits.

    new, reference: digests by the group that a row shows most of (a class, most often the only one). new_counts,
    reference_counts: what each of these rows adds to each of the groups `classes`, int64 `(rows, groups)`.
    """

    new: dict[str, list[str]] = field(default_factory=dict)
    reference: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    new_counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    reference_counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    num_new: int
    num_gone: int
    num_moved_to_test: int


def measure_drift(
    dataset: Dataset, reference: Dataset, model: ModelBundle, store: "Store", *, max_images: int, seed: int
) -> dict[str, Any]:
    """The content of drift.json.

    Args:
        dataset: the newest data.
        reference: what the champion was made from.
        model: the champion's network, whose pooled features are compared.
        store: where the data sets' quarantine lists are.
        max_images: of each sample, for the feature test.
        seed: of both tests.
    """
    rows = get_task(dataset.task).rows
    found = arrivals(dataset, reference)
    counted = found.reference_counts.any() and found.new_counts.any()
    shift = label_shift(found.reference_counts, found.new_counts, seed=seed) if counted else None
    totals = {"reference": found.reference_counts.sum(axis=0), "new": found.new_counts.sum(axis=0)}
    chosen_new, chosen_reference = matched_samples(found, max_images)
    drift = None
    if len(chosen_new) >= _FEWEST:
        new, new_digests = embed(dataset, LOOKED_AT, chosen_new, model)
        before, before_digests = embed(reference, LOOKED_AT, chosen_reference, model)
        drift = feature_drift(
            new,
            before,
            new_strata=_strata(found.new, new_digests),
            reference_strata=_strata(found.reference, before_digests),
            seed=seed,
        )
    faulty = _newly_quarantined(dataset, reference, store)
    return {
        "format": FORMAT,
        "images": {
            "reference": sum(reference.counts.values()),
            "dataset": sum(dataset.counts.values()),
            "new": found.num_new,
            "gone": found.num_gone,
            "moved_to_test": found.num_moved_to_test,
        },
        "classes": {
            "added": [name for name in dataset.classes if name not in reference.classes],
            "gone": [name for name in reference.classes if name not in dataset.classes],
            "reordered": sorted(dataset.classes) == sorted(reference.classes) and dataset.classes != reference.classes,
        },
        "counted": rows.counted,
        "noun": rows.noun,
        "mixed": rows.mix_titles[1],
        "group": rows.mix_titles[0],
        "mix": [
            {"class": name, **{side: int(total[number]) for side, total in totals.items()}}
            for number, name in enumerate(found.classes)
        ],
        "quarantine": {"new": faulty, "share": faulty / (faulty + found.num_new) if faulty else 0.0},
        "labels": asdict(shift) if shift else None,
        "features": asdict(drift) if drift else None,
        "fingerprints": {"reference": reference.fingerprint, "dataset": dataset.fingerprint},
    }


def arrivals(dataset: Dataset, reference: Dataset) -> Arrivals:
    """Told apart by content: a row is new when the reference holds no row of this digest, in any split."""
    groups = get_task(dataset.task).rows.mix_groups
    classes = list(dict.fromkeys([*groups(reference.classes), *groups(dataset.classes)]))
    before: dict[str, str] = {}
    known: dict[str, list[str]] = {}
    known_counts: list[np.ndarray] = []
    for split, digest, counts in _rows(reference, classes):
        before[digest] = split
        if split in LOOKED_AT:
            known.setdefault(_stratum(counts, classes), []).append(digest)
            known_counts.append(counts)
    new: dict[str, list[str]] = {}
    new_counts: list[np.ndarray] = []
    num_new = num_kept = num_moved = 0
    for split, digest, counts in _rows(dataset, classes):
        is_new = digest not in before
        num_new += is_new
        num_kept += not is_new
        num_moved += split == "test" and before.get(digest, "test") != "test"
        if is_new and split in LOOKED_AT:
            new.setdefault(_stratum(counts, classes), []).append(digest)
            new_counts.append(counts)
    return Arrivals(
        new=new,
        reference=known,
        classes=classes,
        new_counts=_stacked(new_counts, classes),
        reference_counts=_stacked(known_counts, classes),
        num_new=num_new,
        num_gone=len(before) - num_kept,
        num_moved_to_test=num_moved,
    )


def matched_samples(found: Arrivals, max_images: int) -> tuple[set[str], set[str]]:
    """Digests of the new images and of reference images with the same mix of classes, each at most `max_images`.

    The same mix, so that a shift of labels is not found a second time as drift of features. Where the reference has
    several times as many, it is a multiple of the new sample: more images make the test sharper.
    """
    counts = Counter({name: min(len(found.new[name]), len(found.reference.get(name, ()))) for name in found.new})
    if counts.total() > max_images:
        counts = Counter({name: count * max_images // counts.total() for name, count in counts.items()})
    counts = +counts
    if not counts:
        return set(), set()
    multiple = min(len(found.reference[name]) // count for name, count in counts.items())
    multiple = max(1, min(multiple, max_images // counts.total()))
    new, reference = set(), set()
    for name, count in counts.items():
        new |= set(_spread(found.new[name], count))
        reference |= set(_spread(found.reference[name], count * multiple))
    return new, reference


def _spread(digests: list[str], number: int) -> list[str]:
    # In the order of the digests, which says nothing about the images.
    ordered = sorted(digests)
    return [ordered[place * len(ordered) // number] for place in range(number)]


def _rows(dataset: Dataset, classes: list[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Split, digest, and what the row adds to each of the groups `classes`, `(groups,)`."""
    rows = get_task(dataset.task).rows
    places = np.array([classes.index(name) for name in rows.mix_groups(dataset.classes)], dtype=np.int64)
    for split in SPLITS:
        for row in dataset.iterate(split, columns=("digest", *rows.mix_columns)):
            counts = np.zeros(len(classes), dtype=np.int64)
            found = rows.mix(row, len(dataset.classes))
            if found is not None:
                counts[places] = found
            yield split, row["digest"], counts


def _strata(by_class: Mapping[str, list[str]], digests: list[str]) -> np.ndarray:
    """A number for the class of each digest, the same in both samples, `(n,)`."""
    places = {digest: name for name, members in by_class.items() for digest in members}
    # By the name itself, for neither sample needs to hold every class.
    return np.array([zlib.crc32(places[digest].encode()) for digest in digests], dtype=np.int64)


def _stratum(counts: np.ndarray, classes: list[str]) -> str:
    return classes[int(counts.argmax())] if counts.any() else ""


def _stacked(counts: list[np.ndarray], classes: list[str]) -> np.ndarray:
    return np.stack(counts) if counts else np.zeros((0, len(classes)), dtype=np.int64)


def _newly_quarantined(dataset: Dataset, reference: Dataset, store: "Store") -> int:
    """Items that were put aside now and not then, by name and reason, for a reason that is a fault of theirs."""
    now, then = (_quarantine(one, store) for one in (dataset, reference))
    return len(now - then)


def _quarantine(dataset: Dataset, store: "Store") -> set[tuple[str, str]]:
    if not any(entry.path == _QUARANTINE for entry in dataset.manifest.files):
        return set()
    usual = get_task(dataset.task).rows.usual_reasons
    document = read_document(dataset.manifest, _QUARANTINE, store, most_bytes=None)
    try:
        return {(file["source"], file["reason"]) for file in document["files"] if file["reason"] not in usual}
    except (TypeError, KeyError):
        raise UserError(f"{_QUARANTINE} of the data set must list files with reasons; prepare it again") from None
