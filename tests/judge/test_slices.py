"""A challenger that is better overall and worse at night, from the user's table to the report and the card."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl
from PIL import Image
from simulated_year import CHANNEL, CLASSES, SIDE, write_onnx

from components.core.artifacts.manifest import publish, read_file, read_manifest
from components.core.bundles.onnx_bundle import load_onnx, save_onnx
from components.core.evaluation.document import Evaluation, read_evaluation
from components.core.split_part import SplitPart
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.card import CardText
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings
from components.evaluate.component import evaluate
from components.export.card import write_card
from components.judge.component import judge
from components.run_report.evidence import Document, Evidence
from components.run_report.records import Task
from components.run_report.report import render_report

SCRIPT = "<script>alert(1)</script>"
DRIFT = {
    "images": {"reference": 1, "dataset": 2, "new": 1, "gone": 0, "moved_to_test": 0}, "labels": None, "features": None,
    "classes": {"added": [], "gone": []}, "mix": [], "quarantine": {"new": 0, "share": 0.0},
}  # fmt: skip
RETRAINING = {
    "champion": {"name": "colours", "version": "aaa"}, "action": "fine-tune", "reason": "Grown.", "attention": False,
    "drift": DRIFT,
}  # fmt: skip

# (label, camera, how much brighter the label's channel is, how much brighter green is, images). By day some red things
# look greenish, which a leaning to red sets right; at night the channels hardly differ, and a strong leaning is all
# that is left of them.
PICTURES = [
    ("blue", "day", 100, 0, 200), ("green", "day", 100, 0, 200), ("red", "day", 100, 0, 100), ("red", "day", 0, 8, 120),
    ("blue", "night", 20, 0, 25), ("green", "night", 20, 0, 25), ("red", "night", 20, 0, 100),
    ("red", SCRIPT, 100, 0, 4), ("red", "", 100, 0, 20),
]  # fmt: skip
LEANINGS = {"strong": 30, "slight": 14}


def pictures() -> Iterator[tuple[str, str, bytes]]:
    rng = np.random.default_rng(0)
    for label, camera, brighter, greener, count in PICTURES:
        for _ in range(count):
            pixels = rng.integers(60, 80, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[:, :, CHANNEL[label]] += brighter
            pixels[:, :, CHANNEL["green"]] += greener
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            yield label, camera, buffer.getvalue()


def head(leaning: int) -> np.ndarray:
    """Each class's own channel, and a bias to red of so many levels."""
    weights = np.zeros((len(CLASSES), 4), np.float32)
    for row, label in enumerate(CLASSES):
        weights[row, CHANNEL[label]] = 1
    weights[CLASSES.index("red"), 3] = leaning / 255
    return weights


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The files that the last stages leave behind."""

    evaluation: Evaluation
    duel: Evaluation
    judgement: dict[str, Any]
    verdict: str
    page: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table with a column `camera`, prepared with it."""
    folder = tmp_path_factory.mktemp("night")
    (folder / "data").mkdir()
    lines = ["path,label,camera"]
    for number, (label, camera, image) in enumerate(pictures()):
        (folder / "data" / f"{number}.png").write_bytes(image)
        lines.append(f"{number}.png,{label},{camera}")
    (folder / "data" / "list.csv").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
        patch.setenv("TRIMTAB_STORE", str(folder / "store"))
        rows, table = get_task("classification").rows, str(folder / "data" / "list.csv")
        settings = Settings(rows=rows, dataset=table, test_fraction=0.5, slice_columns="camera")
        prepare(settings, folder / "prepared", open_store(str(folder / "store")))
        save(folder / "champion", head(0), folder)
        yield folder


def save(path: Path, weights: np.ndarray, folder: Path) -> None:
    save_onnx(path, write_onnx(weights, folder / f"{path.name}.onnx"), open_store(str(folder / "store")))


@pytest.fixture(scope="module")
def contest(folder: Path) -> Callable[..., Contest]:
    """evaluate, evaluate against the champion, judge: for a challenger that leans to red."""
    store = open_store(str(folder / "store"))

    def read(path: Path, name: str) -> dict[str, Any]:
        return json.loads(read_file(read_manifest(path), name, store))

    def run(leaning: str, **margins: float) -> Contest:
        out = folder / f"{leaning}-{len(list(folder.iterdir()))}"
        save(out / "challenger", head(LEANINGS[leaning]), folder)
        for name, baseline in (("evaluation", out / "challenger"), ("duel", folder / "champion")):
            evaluate.python_func(
                dataset=dsl.Dataset(uri=str(folder / "prepared")), candidate=dsl.Model(uri=str(out / "challenger")),
                baseline=dsl.Model(uri=str(baseline)), evaluation=dsl.Artifact(uri=str(out / name)),
                metrics=dsl.Metrics(uri=""), visualization=dsl.ClassificationMetrics(uri=""),
                page=dsl.HTML(uri=str(out / f"{name}.html")), split="test", latency_rounds=1,
            )  # fmt: skip
        publish_decision(out / "decision", store)
        judged = judge.python_func(
            evaluation=dsl.Artifact(uri=str(out / "evaluation")), duel=dsl.Artifact(uri=str(out / "duel")),
            decision=dsl.Artifact(uri=str(out / "decision")), judgement=dsl.Artifact(uri=str(out / "judgement")),
            page=dsl.HTML(uri=str(out / "judge.html")), **{"max_class_loss": 30.0, **margins},
        )  # fmt: skip
        return Contest(
            evaluation=read_evaluation(out / "evaluation", store), duel=read_evaluation(out / "duel", store),
            judgement=read(out / "judgement", "judgement.json"), verdict=judged.verdict,
            page=(out / "judge.html").read_text() + (out / "duel.html").read_text(),
        )  # fmt: skip

    return run


def publish_decision(path: Path, store: Store) -> None:
    publish(path, kind="decision", files={"retraining.json": json.dumps(RETRAINING).encode()}, metadata={}, store=store)


@pytest.fixture(scope="module")
def strong(contest) -> Contest:
    return contest("strong")


def report(found: Contest) -> str:
    """The run report of this retraining, from what its stages wrote."""
    task = Task(path="judge", component="judge", status="succeeded")
    evidence = Evidence(
        run_id="r", pipeline="retrain", store_uri="s", parameters={}, state="SUCCEEDED", error="", tasks=[task]
    )
    documents = {"retraining.json": RETRAINING, "judgement.json": found.judgement}
    evidence.evaluations = [found.evaluation]
    evidence.documents = {name: [Document(task=task, content=content)] for name, content in documents.items()}
    return render_report(evidence)


def card(found: Contest, folder: Path) -> str:
    bundle = load_onnx(folder / "champion", open_store(str(folder / "store")))
    return write_card(
        found.evaluation,
        CardText(intro="Colours.", figures="", use="", limits=()),
        {
            "name": "colours", "version": "bbb", "digest": "b" * 64, "digests": {}, "trimtab": "0", "licence": "none",
            "decision": {"recipes": [], "reason": "A stand-in."},
            "provenance": {"calibration": None, **bundle.provenance},
            "verification": {
                "parity": {"batch_sizes": [1], "relative_difference": 0.0, "tolerance": 1e-3}, "same_graph": True,
                "samples_repeated": 0,
            },
            "retraining": found.judgement,
        },
    )  # fmt: skip


def test_better_overall_and_worse_at_night_is_not_promoted(strong):
    assert strong.duel.primary.difference.low > 0, "better overall, beyond chance"
    assert strong.verdict == "keep"
    missed = [check["check"] for check in strong.judgement["checks"] if not check["met"]]
    assert missed == ["slice camera=night"]
    night = next(row for row in strong.duel.slices if row.name == "camera=night")
    # All that is not red is lost at night, and nothing is gained.
    assert night.gained == 0
    assert night.lost >= 20
    said = f"camera=night: a loss of {-night.points:.1f} points on {night.support} images where 5 is allowed"
    assert strong.judgement["reason"].endswith(f"; {said}.")


def test_the_report_and_the_card_name_the_slice_that_stopped_it(strong, folder):
    night = next(row for row in strong.duel.slices if row.name == "camera=night")
    said = f"camera=night: a loss of {-night.points:.1f} points on {night.support} images"
    html, markdown = report(strong), card(strong, folder)
    assert "colours/aaa stays champion" in html
    assert "cannot be shown" not in html
    for text in (html, strong.page, markdown):
        assert said in text
        assert "slice camera=night" in text
    assert f"| slice camera=night | {night.support} | −5.00 points |" in markdown
    assert "DOES NOT HOLD" in markdown
    # The test split of a retraining is used again and again.
    assert "read once" not in markdown
    assert "releases of this name" in markdown


def test_the_card_of_a_retraining_judged_on_a_part_says_which_and_how_worn_it_is(strong, folder):
    judged = {**strong.judgement, "test_uses": 3, "test_part": {"number": 2, "of": 4, "uses_before": [3, 2, 2, 2]}}
    measured = replace(strong.evaluation, part=SplitPart(number=2, of=4))
    markdown = card(replace(strong, evaluation=measured, judgement=judged), folder)
    assert f"images of the test split (part 2 of 4{'; ' if strong.evaluation.aside else ')'}" in markdown
    assert "judged on a part of it, which has measured 3 releases of this name, this one included" in markdown


def test_a_slice_of_a_few_images_decides_nothing_and_its_name_is_text_everywhere(strong, folder):
    few = next(check for check in strong.judgement["checks"] if SCRIPT in check["check"])
    assert 0 < few["rows"] < 6
    assert few["note"] == "too few images for the test: nothing is decided"
    html, markdown = report(strong), card(strong, folder)
    # In Markdown a backslash makes text of it.
    for text in (html, strong.page, markdown.replace(r"\<", "")):
        assert "<script>alert" not in text
        assert "too few images for the test: nothing is decided" in text
    assert "too few images to tell" in html


def test_equal_at_night_is_promoted(contest):
    found = contest("slight")
    night = next(row for row in found.duel.slices if row.name == "camera=night")
    assert (night.gained, night.lost, night.points) == (0, 0, 0.0)
    assert found.duel.primary.difference.low > 5
    assert found.verdict == "promote"
    assert found.judgement["reason"].endswith("every check holds.")


def test_a_wider_margin_lets_the_loss_of_the_slice_pass(contest):
    assert contest("strong", max_slice_loss=60.0).verdict == "promote"
