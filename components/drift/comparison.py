"""What arrived since the reference data set, and whether it looks like it; the content of drift.json."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.artifacts.manifest import read_file
from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import SPLITS, Dataset
from components.drift.embeddings import embed
from components.drift.features import feature_drift
from components.drift.labels import label_shift

if TYPE_CHECKING:
    from components.core.store import Store

FORMAT = 1
LOOKED_AT = ("train", "validation")
"""The test split decides over promotion; nothing that comes before may look at it."""

_FEWEST = 8
_QUARANTINE = "quarantine.json"


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Digests of the new images in `LOOKED_AT` by class name, and of the reference's; counts over all splits."""

    new: dict[str, list[str]] = field(default_factory=dict)
    reference: dict[str, list[str]] = field(default_factory=dict)
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
    found = arrivals(dataset, reference)
    classes = list(dict.fromkeys([*reference.classes, *dataset.classes]))
    counts = {side: np.array([len(digests.get(name, ())) for name in classes])
              for side, digests in (("new", found.new), ("reference", found.reference))}  # fmt: skip
    shift = label_shift(counts["reference"], counts["new"], seed=seed) if counts["new"].sum() else None
    chosen_new, chosen_reference = matched_samples(found, max_images)
    drift = None
    if len(chosen_new) >= _FEWEST:
        drift = feature_drift(
            embed(dataset, LOOKED_AT, chosen_new, model),
            embed(reference, LOOKED_AT, chosen_reference, model),
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
        "mix": [
            {"class": name, "reference": int(counts["reference"][number]), "new": int(counts["new"][number])}
            for number, name in enumerate(classes)
        ],
        "quarantine": {"new": faulty, "share": faulty / (faulty + found.num_new) if faulty else 0.0},
        "labels": asdict(shift) if shift else None,
        "features": asdict(drift) if drift else None,
        "fingerprints": {"reference": reference.fingerprint, "dataset": dataset.fingerprint},
    }


def arrivals(dataset: Dataset, reference: Dataset) -> Arrivals:
    """Told apart by content: an image is new when the reference holds no image of these bytes, in any split."""
    before = {digest: split for split, digest, _ in _rows(reference)}
    found = Arrivals(
        num_new=sum(digest not in before for _, digest, _ in _rows(dataset)),
        num_gone=len(before) - sum(digest in before for _, digest, _ in _rows(dataset)),
        num_moved_to_test=sum(
            split == "test" and before.get(digest, "test") != "test" for split, digest, _ in _rows(dataset)
        ),
    )
    for split, digest, name in _rows(reference):
        if split in LOOKED_AT:
            found.reference.setdefault(name, []).append(digest)
    for split, digest, name in _rows(dataset):
        if split in LOOKED_AT and digest not in before:
            found.new.setdefault(name, []).append(digest)
    return found


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


def _rows(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    for split in SPLITS:
        for row in dataset.iterate(split, columns=("digest", "label")):
            yield split, row["digest"], dataset.classes[row["label"]]


def _newly_quarantined(dataset: Dataset, reference: Dataset, store: "Store") -> int:
    """Files that were put aside now and not then, by name and reason; files of other kinds are no images at all."""
    now, then = (_quarantine(one, store) for one in (dataset, reference))
    return len(now - then)


def _quarantine(dataset: Dataset, store: "Store") -> set[tuple[str, str]]:
    if not any(entry.path == _QUARANTINE for entry in dataset.manifest.files):
        return set()
    files = json.loads(read_file(dataset.manifest, _QUARANTINE, store))["files"]
    return {(file["source"], file["reason"]) for file in files if file["reason"] != "unsupported"}
