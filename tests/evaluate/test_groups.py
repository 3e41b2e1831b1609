"""Figures of each group and slice against their definitions, written out here."""

from hashlib import sha256

import numpy as np
import pytest

from components.core.budget import Budget
from components.core.data.dataset import open_dataset, write_dataset
from components.core.evaluation.paired_proportions import score_interval
from components.core.tasks import get_task
from components.core.tasks.classification.metrics import RECALL, TOP1, class_groups
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.evaluate.groups import group_comparisons, slice_comparisons
from components.evaluate.intervals import PairedRows

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


@pytest.fixture
def both() -> tuple[np.ndarray, np.ndarray]:
    """Which images each model gets right, 1 or 0."""
    rng = np.random.default_rng(0)
    return (rng.random(180) < 0.8).astype(int), (rng.random(180) < 0.9).astype(int)


def pairs(both) -> PairedRows:
    return PairedRows(*(np.stack([correct, np.ones(180)], axis=1).astype(float) for correct in both))


@pytest.fixture
def found(sliced, both):
    digests = [row["digest"] for row in sliced.iterate("test")]
    return slice_comparisons(sliced, "test", digests, TOP1, pairs(both))


def test_each_slice_has_its_rows_both_figures_and_the_paired_outcomes(sliced, both, found):
    ours, theirs = both
    assert [row.name for row in found] == ["camera=dawn", "camera=day", "camera=night", "site=Graz"]
    cells = list(sliced.iterate("test"))
    for row in found[1:]:
        column, value = row.name.split("=")
        mask = np.array([cell[f"slice:{column}"] == value for cell in cells])
        assert (row.kind, row.metric, row.percent) == ("slice", "top-1", True)
        assert row.support == mask.sum() > 30
        assert row.candidate == pytest.approx(ours[mask].mean())
        assert row.baseline == pytest.approx(theirs[mask].mean())
        assert row.gained == sum(1 for a, b in zip(ours[mask], theirs[mask], strict=True) if a > b)
        assert row.lost == sum(1 for a, b in zip(ours[mask], theirs[mask], strict=True) if a < b)
        assert row.points == pytest.approx(100 * (row.gained - row.lost) / row.support)


def test_the_interval_is_tangos_of_the_pairs_of_the_slice(found):
    row = found[2]
    low, high = score_interval(row.gained, row.lost, row.support, 0.95)
    assert row.proportion
    assert [row.low, row.high] == pytest.approx([100 * low, 100 * high])


def test_a_slice_without_a_row_in_the_split_is_listed_without_figures(found):
    dawn = found[0]
    assert (dawn.name, dawn.support, dawn.gained, dawn.lost) == ("camera=dawn", 0, 0, 0)
    assert [dawn.candidate, dawn.baseline, dawn.points, dawn.low, dawn.high] == [None] * 5


def test_a_group_is_compared_by_its_own_metric_on_its_own_rows(sliced, both):
    ours, theirs = both
    labels = np.array([row["label"] for row in sliced.iterate("test")])
    groups = class_groups(["a", "b", "never"])
    members = labels[:, None] == np.arange(3)
    compared = group_comparisons(groups, members, pairs(both))
    assert [(group.kind, group.name, group.metric) for group in compared] == [
        ("class", "a", "recall"), ("class", "b", "recall"), ("class", "never", "recall"),
    ]  # fmt: skip
    for number, group in enumerate(compared[:2]):
        mine = labels == number
        assert group.support == mine.sum()
        assert group.candidate == pytest.approx(ours[mine].mean())
        assert group.points == pytest.approx(100 * (ours[mine].mean() - theirs[mine].mean()))
    assert (compared[2].support, compared[2].points) == (0, None)
    assert RECALL.proportion


def test_a_data_set_without_slices_gives_an_evaluation_without_them(dataset, opened):
    config = EvaluateConfig(split="validation", threads=1, latency_rounds=2, budget=Budget())
    document = evaluate_pair(dataset, opened("a"), opened("b"), config)
    assert document.slices == ()
    assert [group.name for group in document.groups] == ["red", "green", "blue"]
