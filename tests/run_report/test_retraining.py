"""How a retraining ended, as the report says it."""

from dataclasses import replace
from typing import Any

import pytest
from evaluation_documents import comparison, evaluation, metric_result, model

from components.core.artifacts.manifest import Manifest
from components.core.report.page import render_page
from components.core.split_part import SplitPart
from components.run_report.details import slice_section
from components.run_report.evidence import Document, Evidence
from components.run_report.records import Task
from components.run_report.report import render_report
from components.run_report.result import headline
from components.run_report.retraining import retraining_outputs

DRIFT = {
    "images": {"reference": 1000, "dataset": 1300, "new": 300, "gone": 0, "moved_to_test": 0},
    "classes": {"added": [], "gone": [], "reordered": False},
    "mix": [{"class": "<b>coat", "reference": 500, "new": 20}, {"class": "bag", "reference": 500, "new": 280}],
    "quarantine": {"new": 2, "share": 0.01},
    "labels": {"statistic": 9.0, "p_value": 0.0005, "distance": 0.43, "cramers_v": 0.2},
    "features": {"auc": 0.61, "p_value": 0.03, "reference": 300, "new": 100},
}
CHAMPION = {"name": "sorter", "version": "aaa"}


def retraining(action: str = "fine-tune", *, attention: bool = False) -> dict[str, Any]:
    reason = "The data have changed: labels by 43%."
    return {"champion": CHAMPION, "action": action, "reason": reason, "attention": attention, "drift": DRIFT}


def judgement(*, promote: bool) -> dict[str, Any]:
    return {
        "promote": promote,
        "metric": {"name": "top1", "label": "top-1", "percent": True},
        "row_noun": "images",
        "reason": "+0.50 points against the champion.",
        "champion": {**CHAMPION, "digest": "b" * 64, "value": 0.9},
        "challenger": {"digest": "c" * 64, "value": 0.905},
        "rows": 1000,
        "difference": {
            "points": 0.5,
            "low": -0.2,
            "high": 1.2,
            "confidence": 0.95,
            "method": "paired score interval (Tango 1998)",
        },
        "checks": [
            {"check": "overall", "allowed": -1.0, "measured": -0.2031, "unit": "points", "met": promote, "said": ""}
        ],
    }


def evidence(
    documents: dict[str, dict[str, Any]], *, promoted: dict[str, str] | None = None, state: str = "SUCCEEDED"
) -> Evidence:
    task = Task(path="judge", component="judge", status="succeeded")
    tasks = [task]
    if promoted:
        tasks.append(Task(path="promote", component="promote", status="succeeded", output_parameters=promoted))
    found = Evidence(run_id="r", pipeline="retrain", store_uri="s", parameters={}, state=state, error="", tasks=tasks)
    found.documents = {name: [Document(task=task, content=content)] for name, content in documents.items()}
    return found


def swapped(outcome: str) -> dict[str, str]:
    return {"outcome": outcome, "release": "sorter/bbb", "message": "sorter/ccc is not promoted: overtaken by bob"}


@pytest.mark.parametrize(
    ("documents", "promoted", "title", "outputs"),
    [
        ({"retraining.json": retraining("skip")}, None, "Nothing to retrain",
         {"action": "skip", "attention": False, "promoted": False, "champion": "sorter/aaa", "verdict": None}),
        ({"retraining.json": retraining("skip", attention=True)}, None, "Look at the data: nothing was retrained",
         {"action": "skip", "attention": True, "promoted": False, "champion": "sorter/aaa", "verdict": None}),
        ({"retraining.json": retraining(), "judgement.json": judgement(promote=False)}, None,
         "sorter/aaa stays champion",
         {"action": "fine-tune", "attention": False, "promoted": False, "champion": "sorter/aaa", "verdict": "keep"}),
        ({"retraining.json": retraining(), "judgement.json": judgement(promote=True)}, swapped("promoted"),
         "sorter/bbb is the new champion",
         {"action": "fine-tune", "attention": False, "promoted": True, "champion": "sorter/bbb", "verdict": "promote"}),
        ({"retraining.json": retraining(), "judgement.json": judgement(promote=True)}, swapped("overtaken"),
         "Overtaken by another promotion",
         {"action": "fine-tune", "attention": True, "promoted": False, "champion": "sorter/bbb", "verdict": "promote"}),
        ({"retraining.json": retraining(), "judgement.json": judgement(promote=True)}, swapped("already"),
         "sorter/bbb is the champion already",
         {"action": "fine-tune", "attention": False, "promoted": False, "champion": "sorter/bbb",
          "verdict": "promote"}),
    ],
)  # fmt: skip
def test_each_end_has_its_title_and_its_outputs(documents, promoted, title, outputs):
    found = evidence(documents, promoted=promoted)
    assert headline(found)[0] == title
    assert retraining_outputs(found) == outputs


def test_the_page_shows_drift_decision_judgement_and_swap():
    documents = {"drift.json": DRIFT, "retraining.json": retraining(), "judgement.json": judgement(promote=True)}
    html = render_report(evidence(documents, promoted=swapped("promoted")))
    for part in ("The champion is fine-tuned", "labels by 43%", "χ², permutation test", "AUC 0.610", "300", "Promoted",
                 "+0.50 points against the champion", "The challenger may take", "93.3 %",
                 "−1.00 points", "−0.20 points", "overall the lower end of the interval"):  # fmt: skip
        assert part in html, part
    assert "<b>coat" not in html
    assert "cannot be shown" not in html


def test_a_retraining_that_failed_says_where_and_shows_what_was_decided_before():
    found = evidence({"drift.json": DRIFT, "retraining.json": retraining()}, state="FAILED")
    found.tasks = [*found.tasks, Task(path="t", component="fine_tune", status="failed", error="out of memory")]
    title, said = headline(found)
    assert "failed" in title
    assert said == "out of memory; the champion is untouched"
    assert "The champion is fine-tuned" in render_report(found)


def test_the_result_is_the_comparison_with_the_float32_network_and_not_one_with_champion_or_anchor():
    served = Manifest(kind="onnx", metadata={"of": "champion"}, files=())
    anchor = Manifest(kind="onnx", metadata={"of": "the year's first release"}, files=())
    duel, held = (evaluation(baseline=model(digest=one.digest)) for one in (served, anchor))
    measured = evaluation()
    found = evidence({})
    task = Task(path="i", component="incumbent", status="succeeded")
    found.manifests = [(task, "served", served), (task, "year_served", anchor)]
    found.evaluations = [replace(measured, split="validation"), duel, held, measured]
    assert found.final is measured


def test_a_release_as_good_as_the_baseline_is_said_to_be_the_same():
    found = evidence({})
    found.evaluations = [evaluation(metrics=(metric_result(0.9, 0.90000001),))]
    assert headline(found)[1] == "Top-1 90.00 % on 1,000 test images, the same as the float32 baseline's 90.00 %."


def test_the_slice_that_stopped_a_promotion_is_named_with_its_images_and_its_name_stays_text():
    name = "camera=<script>alert(1)</script>"
    judged = judgement(promote=False)
    judged["reason"] = f"+0.50 points against the champion; {name}: a loss of 8.0 points on 120 images."
    judged["checks"] = [
        {"check": f"slice {name}", "allowed": -5.0, "measured": -8.0, "rows": 120, "met": False, "said": ""},
        {"check": "slice camera=dusk", "allowed": -5.0, "measured": None, "rows": 0, "met": True, "said": "",
         "note": "no test images: nothing is decided"},
    ]  # fmt: skip
    html = render_report(evidence({"retraining.json": retraining(), "judgement.json": judged}))
    assert "<script" not in html
    assert html.count("camera=&lt;script&gt;alert(1)&lt;/script&gt;: a loss of 8.0 points on 120 images") >= 1
    assert "no test images: nothing is decided" in html
    assert "cannot be shown" not in html


def test_the_slices_of_the_release_are_shown_with_their_images():
    names = ["camera=<b>day", "camera=night", "camera=dusk", "camera=dawn"]
    slices = [
        comparison(
            name, support=n, points=points, low=points - 3 if n > 5 else None, high=points + 3 if n > 5 else None
        )
        for name, n, points in zip(names[:3], (900, 120, 5), (1, -8, -40), strict=True)
    ]
    found = evidence({})
    found.evaluations = [evaluation(slices=(*slices, comparison(names[3], support=0, points=None)))]
    section = slice_section(found)
    assert section is not None
    html = render_page("x", [section])
    for part in ("camera=&lt;b&gt;day", "900", "−8.0 points", "−11.0 to −5.0", "too few images to tell", "no images"):
        assert part in html, part
    assert "<b>day" not in html
    # Of the two losses, the one on five images is not marked as one.
    assert [row[4].tone for row in section.blocks[0].rows[1:3]] == ["bad", ""]


def test_without_slices_there_is_no_such_section():
    found = evidence({})
    found.evaluations = [evaluation()]
    assert slice_section(found) is None


def test_a_run_says_that_it_read_the_test_split_once_and_not_that_nobody_else_did():
    found = evidence({})
    found.evaluations = [evaluation()]
    html = render_report(found)
    assert "Measured once in this run, on the test split: 1,000 images on which nothing in it was chosen" in html


@pytest.mark.parametrize(
    ("uses", "said"), [(7, "it has measured 7 releases of this name"), (None, "it has been used before")]
)
def test_a_retraining_does_not_say_that_its_test_split_was_read_once(uses, said):
    judged = {**judgement(promote=True), "test_uses": uses, "left_out": 3}
    judged["anchors"] = [
        {
            "title": "first release of 2026",
            "release": "sorter/000",
            "deleted": "",
            "points": -0.4,
            "low": -0.9,
            "high": 0.1,
        }
    ]
    found = evidence({"retraining.json": retraining(), "judgement.json": judged}, promoted=swapped("promoted"))
    found.evaluations = [evaluation()]
    html = render_report(found)
    assert said in html
    assert "Measured once" not in html
    assert "Since the first release of 2026, sorter/000: −0.40 points (−0.90 to +0.10)." in html
    assert "3 test images that a contestant had seen before were left out" in html


def test_a_retraining_judged_on_a_part_says_which_and_how_worn_it_is():
    judged = {**judgement(promote=True), "test_uses": 3}
    judged["test_part"] = {"number": 2, "of": 4, "uses_before": [3, 2, 2, 2]}
    found = evidence({"retraining.json": retraining(), "judgement.json": judged}, promoted=swapped("promoted"))
    found.evaluations = [evaluation(part=SplitPart(number=2, of=4))]
    html = render_report(found)
    assert "1,000 images (part 2 of 4) on which nothing was calibrated or stopped" in html
    assert "a part of it, which has measured 3 releases of this name" in html
    assert "Part 2 of 4 of the test split has measured 3 releases" in html
    assert "Before this one its 4 parts had measured 3, 2, 2 and 2." in html
