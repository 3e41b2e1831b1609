"""Robustness of models whose answers can be worked out by hand, and the interval of the difference."""

import io
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.core.budget import Budget
from components.core.data.dataset import open_dataset, write_dataset
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task
from components.core.tasks.images.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from components.core.tasks.metric import Metric
from components.core.tasks.parameters import forms
from components.evaluate.bundles import Opened
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.evaluate.robustness import check_corruptions, summarized

CLASSES = ["red", "green", "blue"]
KINDS = tuple((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)
TOP1 = Metric(name="top1", label="top-1", reduce=lambda sums: sums[..., 0] / sums[..., 1], proportion=True)


def faint(number: int) -> np.ndarray:
    """Bright, and a little more of one colour than of the others: noise and white hide it."""
    pixels = np.random.default_rng(number).integers(150, 190, (8, 8, 3), dtype=np.uint8)
    pixels[:, :, number % 3] += 4 + number % 5
    return pixels


@pytest.fixture
def faint_dataset(tmp_path, store):
    """60 test images, each labelled with the colour that it has a little more of."""
    rows = []
    for number in range(60):
        buffer = io.BytesIO()
        Image.fromarray(faint(number)).save(buffer, "PNG")
        digest = sha256(buffer.getvalue()).hexdigest()
        rows.append({"image": buffer.getvalue(), "label": number % 3, "digest": digest, "source": str(number)})
    splits = {"test": sorted(rows, key=lambda row: row["digest"])}
    write_dataset(tmp_path / "faint", rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)
    return open_dataset(tmp_path / "faint", store)


def config(rows: int) -> EvaluateConfig:
    return EvaluateConfig(split="test", threads=1, latency_rounds=1, budget=Budget(), samples=0, corruption_rows=rows)


def right(model: Opened, row: dict, name: str = "", severity: int = 0) -> bool:
    """The corrupted picture through the model's own preprocessing and its file, alone."""
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
    if severity:
        pixels = corrupted(pixels, name, severity, seed=row["digest"])
    preprocess = model.bundle.assets.preprocess
    inputs = preprocess.normalized(preprocess.resized(Image.fromarray(pixels)))
    logits = session_of(model.bundle.graphs["model"]).run(None, {"images": inputs[None]})[0]
    return int(logits[0].argmax()) == row["label"]


@cache
def session_of(path: Path):
    return open_session(path, threads=1)


@pytest.mark.parametrize("image_size", [8, 4])
def test_every_figure_is_that_of_the_corrupted_pictures(faint_dataset, opened, image_size):
    ours, theirs = opened("blind", blind=True, image_size=image_size), opened("sees")
    found = evaluate_pair(faint_dataset, ours, theirs, config(60))
    assert Evaluation.from_json(found.to_json()) == found
    robust, rows = found.robustness, list(faint_dataset.iterate("test"))
    assert robust.rows == found.rows == 60
    assert (robust.candidate, robust.baseline) == (found.primary.candidate.value, found.primary.baseline.value)
    assert tuple((one.corruption, one.severity) for one in robust.corrupted) == KINDS
    drops = []
    for one in robust.corrupted:
        for model, clean, value, drop in (
            (ours, robust.candidate, one.candidate, one.candidate_drop),
            (theirs, robust.baseline, one.baseline, one.baseline_drop),
        ):
            wanted = np.mean([right(model, row, one.corruption, one.severity) for row in rows])
            assert value == pytest.approx(wanted)
            assert drop == pytest.approx(100 * (clean - wanted))
            drops.append(drop)
    assert robust.candidate_drop == pytest.approx(np.mean(drops[0::2]))
    assert robust.baseline_drop == pytest.approx(np.mean(drops[1::2]))
    assert max(drops[1::2]) > 10
    assert robust.points == pytest.approx(robust.baseline_drop - robust.candidate_drop)
    assert robust.low < robust.points < robust.high


def test_the_same_rows_give_the_same_figures_and_fewer_are_spread_over_the_split(faint_dataset, opened):
    ours, theirs = opened("blind", blind=True), opened("sees")
    few, again = (evaluate_pair(faint_dataset, ours, theirs, config(7)).robustness for _ in range(2))
    assert few == again
    rows = list(faint_dataset.iterate("test"))
    picked = [rows[number * 60 // 7] for number in range(7)]
    assert few.rows == 7
    assert few.baseline == pytest.approx(np.mean([right(theirs, row) for row in picked]))
    noisy = few.corrupted[2].baseline
    assert noisy == pytest.approx(np.mean([right(theirs, row, "gaussian noise", 3) for row in picked]))
    assert (few.low, few.high) == (None, None)  # seven rows that differ tell nothing


def test_rows_that_a_model_has_seen_are_not_corrupted_either(faint_dataset, opened):
    ours, theirs = opened("blind", blind=True), opened("sees")
    rows = list(faint_dataset.iterate("test"))
    seen, kept = {row["digest"] for row in rows[:50]}, rows[50:]
    found = evaluate_pair(faint_dataset, ours, theirs, config(60), seen=seen)
    assert found.robustness.rows == 10
    assert found.robustness.candidate == pytest.approx(np.mean([right(ours, row) for row in kept]))


def test_nothing_is_corrupted_where_nothing_is_asked_for(faint_dataset, opened):
    assert evaluate_pair(faint_dataset, opened("a"), opened("b"), config(0)).robustness is None


def test_rows_that_are_no_images_are_refused_in_one_line():
    pairs = SimpleNamespace(task="translation")
    check_corruptions(pairs, 0)
    with pytest.raises(UserError, match=r"^corruption_rows 200: sentence pairs cannot be corrupted, only images can"):
        check_corruptions(pairs, 200)
    with pytest.raises(UserError, match=r"^unknown key 'corruption_rows' in advanced"):
        forms()["translation"].resolve({}, {"corruption_rows": 200})
    assert forms()["segmentation"].resolve({}, {"corruption_rows": 200})["corruption_rows"] == 200


def test_a_negative_number_of_rows_is_refused():
    with pytest.raises(UserError, match="corruption_rows must be at least 0; got -1"):
        config(-1)


def simulated(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong `(rows, 1 + kinds)` of two models: rows differ in difficulty, which both models share."""
    difficulty = rng.normal(1.5, 1.5, (rows, 1))
    damage = np.concatenate([[0.0], np.tile([0.5, 1.0, 2.0], 8)])
    shared = rng.logistic(size=(rows, 1 + len(KINDS)))
    models = []
    for harm in (1.3, 1.0):
        own = 0.6 * rng.logistic(size=shared.shape)
        models.append(difficulty - harm * damage + 0.6 * shared + own > 0)
    return models[0].astype(float), models[1].astype(float)


def statistics(answers: np.ndarray) -> np.ndarray:
    return np.stack([answers, np.ones_like(answers)], axis=-1)


def stated(candidate: np.ndarray, baseline: np.ndarray):
    return summarized(
        statistics(candidate), statistics(baseline), TOP1, SimpleNamespace(kinds=KINDS, method="Damaged.")
    )


def test_the_difference_is_the_mean_over_rows_and_kinds():
    ours, theirs = simulated(np.random.default_rng(0), 200)
    found = stated(ours, theirs)
    each = (theirs[:, 0] - theirs[:, 1:].mean(axis=1)) - (ours[:, 0] - ours[:, 1:].mean(axis=1))
    assert found.points == pytest.approx(100 * each.mean())
    assert found.baseline_drop - found.candidate_drop == pytest.approx(found.points)
    # Of a mean the jackknife's standard error is the usual one; t is near 1.97 with this many rows.
    half = (found.high - found.low) / 2
    assert half == pytest.approx(1.97 * 100 * each.std(ddof=1) / np.sqrt(200), rel=0.02)


def test_its_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    ours, theirs = simulated(rng, 200_000)
    truth = stated(ours, theirs).points
    covered = 0
    for _ in range(400):
        found = stated(*simulated(rng, 200))
        covered += found.low <= truth <= found.high
    # 95 % of 400 with three standard errors of chance.
    assert covered / 400 == pytest.approx(0.95, abs=0.033)


def test_equal_models_have_no_interval_and_no_difference():
    ours, _ = simulated(np.random.default_rng(2), 100)
    found = stated(ours, ours)
    assert (found.points, found.low, found.high) == (0.0, None, None)
