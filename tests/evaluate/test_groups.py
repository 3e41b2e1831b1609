"""Figures of each slice against their definitions, written out here."""

from hashlib import sha256

import numpy as np
import pytest

from components.core.budget import Budget
from components.core.data.dataset import open_dataset, write_dataset
from components.core.tasks import get_task
from components.evaluate.comparison import EvaluateConfig, compare
from components.evaluate.groups import slice_differences
from components.evaluate.inference import Outcome

CAMERAS = ("day", "night", None)


def rows(split: str, count: int, cameras=CAMERAS) -> list[dict]:
    made = []
    for number in range(count):
        image = f"{split} {number}".encode()
        camera = cameras[number % len(cameras)]
        made.append(
            {
                "image": image, "label": number % 2, "digest": sha256(image).hexdigest(), "source": str(number),
                "slice:camera": camera, "slice:site": "Graz" if number % 5 == 0 else None,
            }
        )  # fmt: skip
    return sorted(made, key=lambda row: row["digest"])


@pytest.fixture
def sliced(tmp_path, store):
    """180 test images; dawn is known from training alone."""
    splits = {"train": rows("train", 9, ("dawn", "day")), "test": rows("test", 180)}
    write_dataset(
        tmp_path / "sliced", rows=get_task("classification").rows, classes=["a", "b"], splits=splits, store=store,
        slice_columns=("camera", "site"),
    )  # fmt: skip
    return open_dataset(tmp_path / "sliced", store)


def outcome(dataset, correct: np.ndarray) -> Outcome:
    """A model that is right where `correct` is 1."""
    read = list(dataset.iterate("test"))
    labels = np.array([row["label"] for row in read])
    predictions = np.where(correct == 1, labels, 1 - labels)
    return Outcome(
        labels=labels, predictions=predictions, probabilities=np.eye(2)[predictions],
        digests=[row["digest"] for row in read],
    )  # fmt: skip


@pytest.fixture
def both(sliced):
    rng = np.random.default_rng(0)
    ours, theirs = (rng.random(180) < 0.8).astype(int), (rng.random(180) < 0.9).astype(int)
    return ours, theirs


def test_each_slice_has_its_rows_both_accuracies_and_the_paired_outcomes(sliced, both):
    ours, theirs = both
    found = slice_differences(sliced, "test", outcome(sliced, ours), outcome(sliced, theirs))
    assert [row["slice"] for row in found] == ["camera=dawn", "camera=day", "camera=night", "site=Graz"]
    cells = list(sliced.iterate("test"))
    for row in found[1:]:
        mask = np.array([cell[f"slice:{row['column']}"] == row["value"] for cell in cells])
        assert row["support"] == mask.sum() > 30
        assert row["candidate_top1"] == pytest.approx(ours[mask].mean())
        assert row["baseline_top1"] == pytest.approx(theirs[mask].mean())
        assert row["gained"] == sum(1 for a, b in zip(ours[mask], theirs[mask], strict=True) if a > b)
        assert row["lost"] == sum(1 for a, b in zip(ours[mask], theirs[mask], strict=True) if a < b)
        assert row["points"] == pytest.approx(100 * (row["gained"] - row["lost"]) / row["support"])


def test_the_interval_is_that_of_resampling_the_pairs_of_the_slice(sliced, both):
    ours, theirs = both
    row = slice_differences(sliced, "test", outcome(sliced, ours), outcome(sliced, theirs))[2]
    pairs = np.array([1] * row["gained"] + [-1] * row["lost"] + [0] * (row["support"] - row["gained"] - row["lost"]))
    means = pairs[np.random.default_rng(1).integers(0, len(pairs), (20_000, len(pairs)))].mean(axis=1)
    assert [row["low"], row["high"]] == pytest.approx(100 * np.quantile(means, [0.025, 0.975]), abs=1.0)


def test_a_slice_without_an_image_in_the_split_is_listed_without_figures(sliced, both):
    ours, theirs = both
    dawn = slice_differences(sliced, "test", outcome(sliced, ours), outcome(sliced, theirs))[0]
    assert (dawn["slice"], dawn["support"], dawn["gained"], dawn["lost"]) == ("camera=dawn", 0, 0, 0)
    assert [dawn[name] for name in ("candidate_top1", "baseline_top1", "points", "low", "high")] == [None] * 5


def test_a_data_set_without_slices_gives_an_evaluation_without_them(dataset, make_bundle):
    config = EvaluateConfig(split="validation", threads=1, latency_rounds=2, budget=Budget())
    document = compare(dataset, make_bundle("a"), make_bundle("b"), config)
    assert "per_slice" not in document["difference"]
    assert list(document["difference"]["per_class"][0]) == ["class", "support", "points", "low", "high"]
