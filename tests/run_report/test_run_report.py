import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from evaluation_documents import cost, onnxruntime, robustness, runtime
from kfp.dsl import PipelineTaskFinalStatus

from components.core.budget import Check
from components.run_report.component import run_report
from components.run_report.evidence import Evidence, _asked
from components.run_report.record import asked_section
from components.run_report.records import Task, lane_names

PARAMETERS = {"dataset": "demo", "prune_targets": [0.8, 0.65], "max_drop": 1.5, "max_size_mb": None, "power": 1.0}


def report(run, tmp_path, *, state="COMPLETE", message=None, parameters=None):
    """Run the stage; returns the page and the summary."""
    output = SimpleNamespace(path=str(tmp_path / "outputs" / "report"), metadata={})
    status = PipelineTaskFinalStatus(
        state=state,
        pipeline_job_resource_name="job",
        pipeline_task_name="exit-handler-1",
        error_code=None if message is None else 2,
        error_message=message,
    )
    summary = run_report.python_func(
        run_id=run.run_id,
        pipeline="optimize",
        parameters=PARAMETERS if parameters is None else parameters,
        status=status,
        report=output,
    )
    with open(output.path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read(), json.loads(json.dumps(summary))


class Text(HTMLParser):
    """The visible words of a page, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self._style = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._style = tag == "style"
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        if not self._style:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_a_successful_run_is_reported_from_the_verdict_to_the_digests(run, runs, tmp_path):
    runs.complete_run(run)
    html, _ = report(run, tmp_path)
    assert headings(html) == [
        "Result",
        "What was asked",
        "Recipes",
        "Tasks",
        "Backbones",
        "Training",
        "Classes",
        "Samples",
        "Data",
        "Provenance",
    ]
    text = Text(html).text
    for expected in (
        "5.46× smaller, 2.01× faster",
        "Top-1 91.62 % on 2,000 test images, 0.83 points below the float32 baseline's 92.45 %",
        "The release keeps the budget",
        "lost 0.83 points, allowed 1.5 points.",
        "90.5 – 92.7 %",  # the interval of the release's accuracy
        "max_size_mb no limit",
        "Why 65% MACs",
        "backbone-selection",
        "4.6 ms is above max_latency_ms 4",
        "3 files were put aside",
        "Not part of any split.",
        "boots/broken.jpg",
        "ends after 1204 bytes",
        "exact copies left out 1",
        "3fa9c21b77aa",
        "avx512f, avx512_vnni",
        "paired score interval (Tango 1998)",
        run.store.uri,
        run.run_id,
    ):
        assert expected in text
    assert "cannot be shown" not in text
    assert "could be read" not in text


def test_robustness_and_cost_are_reported_where_they_were_asked_for(run, runs, tmp_path):
    runs.complete_run(run, robustness=robustness(), cost=cost(0.036))
    html, summary = report(run, tmp_path)
    assert "Robustness" in headings(html)
    text = Text(html).text
    assert "Compression cost robustness" in text
    assert "gaussian noise 87.0 % 88.0 %" in text
    assert "cost per million images 0.0312 320 images/s at batch 32 0.00625" in text
    assert "1 core at 0.036 per core and hour" in text
    assert ["cost per million images", "0.0312", "0.00625", "5.00× cheaper"] in summary["rows"]
    outputs = summary["outputs"]
    assert (outputs["corruption_drop_points"], outputs["baseline_corruption_drop_points"]) == (6.0, 4.0)
    assert outputs["cost_per_million"] == pytest.approx(0.00625)
    assert outputs["baseline_cost_per_million"] == pytest.approx(0.03125)


def test_a_row_per_runtime_is_reported_where_two_are_installed(run, runs, tmp_path):
    runs.complete_run(run, runtimes=(onnxruntime(), runtime()))
    text = Text(report(run, tmp_path)[0]).text
    assert "OpenVINO 2026.4 1.00 ms (1.50× as fast) 2,000 images/s (2.00× as fast)" in text
    assert "Serve with OpenVINO: it is 1.50× as fast at batch 1 here" in text


def test_every_recipe_has_its_own_curve_and_its_own_column(run, runs, tmp_path):
    runs.complete_run(run)
    html, _ = report(run, tmp_path)
    for name in ("fine-tune", "baseline", "distill 80% MACs", "distill 65% MACs", "distill 50% MACs"):
        assert f">{name}</text>" in html
    assert html.count('class="lane"') == 3


def test_every_artifact_is_listed_with_its_digest(run, runs, tmp_path):
    runs.complete_run(run)
    html, _ = report(run, tmp_path)
    digests = {
        artifact["manifest"]["digest"]
        for record in run.store.journal.read(run.run_id)
        for artifacts in record["output_artifacts"].values()
        for artifact in artifacts
    }
    assert len(digests) > 5
    assert all(digest in html for digest in digests)


def test_the_summary_is_what_the_command_line_prints(run, runs, tmp_path, monkeypatch):
    runs.complete_run(run)
    monkeypatch.setenv("TRIMTAB_RUN_DIR", str(tmp_path / "run"))
    _, summary = report(run, tmp_path)
    assert summary["title"] == "5.46× smaller, 2.01× faster"
    assert summary["columns"] == ["", "baseline", "release", "change"]
    rows = {row[0]: row[1:] for row in summary["rows"]}
    assert rows["top-1"] == ["92.45 %", "91.62 %", "−0.83 points"]
    assert rows["size"] == ["13.48 MB", "2.47 MB", "5.46× smaller"]
    assert rows["latency, batch 1"] == ["2.31 ms", "1.15 ms", "2.01× faster"]
    assert rows["MACs"] == ["33.1 M", "21.5 M", "1.54× fewer"]
    assert summary["files"] == {
        "report": str(tmp_path / "run" / "report.html"),
        "release": "/store/releases/model/3f",
        "model": "/store/releases/model/3f/model.onnx",
        "card": "/store/releases/model/3f/model_card.md",
    }
    outputs = summary["outputs"]
    assert outputs["meets_budget"] is True
    assert outputs["drop_points"] == pytest.approx(0.83)
    assert outputs["recipe"]["macs_fraction"] == 0.65
    assert outputs["release_version"] == "3fa9c21b77aa"


def test_the_page_is_also_put_where_a_person_looks_for_it(run, runs, tmp_path, monkeypatch):
    runs.complete_run(run)
    monkeypatch.setenv("TRIMTAB_RUN_DIR", str(tmp_path / "run"))
    html, _ = report(run, tmp_path)
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == html


def test_a_missed_budget_is_said_in_the_first_section(run, runs, tmp_path):
    checks = [
        Check(limit="max_drop", allowed=0.5, measured=0.83, met=False),
        Check(limit="max_size_mb", allowed=4.0, measured=2.47, met=True),
    ]
    runs.complete_run(run, checks=checks)
    html, summary = report(run, tmp_path)
    text = Text(html).text
    assert "The release misses the budget" in text
    assert "lost 0.83 points, allowed 0.5 points (missed) · size 2.47 MB, allowed 4 MB" in text
    assert summary["outputs"]["meets_budget"] is False


def test_a_failed_run_begins_with_what_failed_and_what_was_done(run, runs, tmp_path):
    runs.failed_run(run, tmp_path / "distill.log")
    html, summary = report(run, tmp_path, state="FAILED", message="a task failed")
    assert headings(html)[0] == "What failed"
    text = Text(html).text
    assert "distill (65% MACs) failed after 31 s" in text
    assert "loss is not finite at step 31; try a lower distill_learning_rate" in text
    assert "RuntimeError: loss is not finite" in text  # from the log
    assert "step 199" in text
    assert "step 100 " not in text  # only its end
    assert "choose (skipped), export (skipped)" in text
    assert "Training" in headings(html)  # what was done is shown
    assert "Result" not in headings(html)
    assert summary["title"] == "The run failed at distill"
    assert summary["rows"] == []
    assert "release_uri" not in summary["outputs"]


def test_a_run_without_any_record_still_gets_a_page(run, tmp_path):
    html, summary = report(run, tmp_path, state="FAILED", message="pod evicted")
    assert "No record of this run" in html
    assert "pod evicted" in html
    assert summary["title"] == "The run failed"


def test_the_parameters_are_taken_from_the_first_task_when_none_are_given(run, runs, tmp_path):
    runs.run_until_distill(run)
    html, _ = report(run, tmp_path, state="CANCELLED", parameters={})
    assert "dataset demo" in Text(html).text
    assert "The run was cancelled" in html


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("COMPLETE", "The run succeeded"),
        ("CACHED", "The run succeeded"),
        ("SUCCEEDED", "The run succeeded"),
        ("FAILED", "The run failed"),
        ("CANCELED", "The run was cancelled"),
    ],
)
def test_the_states_of_every_backend_are_understood(run, tmp_path, state, title):
    assert report(run, tmp_path, state=state)[1]["title"] == title


def test_names_from_the_users_data_stay_text(run, runs, tmp_path):
    script = "<script>document.title='owned'</script>"
    runs.complete_run(run, classes=[script, *runs.CLASSES[1:]])
    html, _ = report(run, tmp_path)
    page = Text(html)
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    assert script not in html
    assert script in page.text  # the class is still shown by its name


def test_the_page_loads_nothing(run, runs, tmp_path):
    runs.complete_run(run)
    html, _ = report(run, tmp_path)
    sources = [a[name] for _, a in Text(html).tags for name in ("src", "href", "data") if name in a]
    assert len([source for source in sources if source.startswith("data:image/png;base64,")]) == 18
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not re.search(r"https?://|url\(|@import", html)


def test_equal_records_give_equal_pages(run, runs, tmp_path):
    runs.complete_run(run)
    assert report(run, tmp_path)[0] == report(run, tmp_path)[0]


def test_a_lost_blob_costs_its_section_and_is_named(run, runs, tmp_path):
    runs.complete_run(run)
    for record in run.store.journal.read(run.run_id):
        if record["component"] == "backbone_selection":
            digest = record["output_artifacts"]["ranking"][0]["manifest"]["files"][0]["sha256"]
    next((tmp_path / "store").rglob(digest)).unlink()
    html, _ = report(run, tmp_path)
    assert "Backbones" not in headings(html)
    assert "Not everything could be read" in html
    assert "backbone-selection, ranking.json" in html
    assert "Result" in headings(html)


def test_a_document_of_another_shape_costs_only_its_section(run, runs, tmp_path):
    runs.complete_run(run)
    odd = run.artifact("ranking", "ranking", {"ranking.json": json.dumps({"candidates": "none"}).encode()})
    path = "exit-handler-1/backbone-selection"
    run.task(path, "backbone_selection", 1.0, at=10.0, artifacts=odd)
    html, summary = report(run, tmp_path)
    assert "A stage left this in an unexpected shape" in html
    assert "Classes" in headings(html)
    assert summary["rows"]


@pytest.mark.parametrize("record", [{}, {"task": "a", "output_artifacts": [], "started": "now", "parameters": None}])
def test_a_record_that_lacks_everything_is_survived(run, tmp_path, record):
    run.store.journal.write(run.run_id, "a", record)
    html, _ = report(run, tmp_path, state="FAILED", message="x")
    assert "Tasks" in headings(html)


def test_tasks_from_the_cache_are_marked(run, runs, tmp_path):
    runs.run_until_distill(run)
    for record in run.store.journal.read(run.run_id):
        run.store.journal.write(run.run_id, record["task"], {**record, "cached": True, "seconds": 0.01})
    html, _ = report(run, tmp_path)
    count = len(run.store.journal.read(run.run_id))
    assert html.count(">from cache</text>") == count
    assert f"{count} taken from the cache" in html
    assert "When each task ran" not in html  # nothing ran


@pytest.mark.parametrize("failed", [False, True])
def test_what_was_asked_has_flat_names_whether_the_first_task_resolved_them_or_not(failed):
    form = {"data_source": "photos/", "budget_max_drop": 1.5, "advanced": {"learning_rate": 0.01}}
    resolved = {"dataset": "photos/", "max_drop": 1.5, "learning_rate": 0.01, "max_size_mb": -1.0, "recipes": []}
    first = Task(
        path="run/preflight", component="preflight", status="failed" if failed else "succeeded", parameters=form,
        output_parameters={} if failed else resolved,
    )  # fmt: skip
    asked = _asked([first])
    assert {name: asked[name] for name in ("dataset", "max_drop", "learning_rate")} == {
        "dataset": "photos/", "max_drop": 1.5, "learning_rate": 0.01,
    }  # fmt: skip
    assert not {"recipes", "advanced", "data_source"} & set(asked)
    if not failed:
        run = {"run_id": "r", "pipeline": "optimize", "store_uri": "s", "state": "SUCCEEDED", "error": ""}
        section = asked_section(Evidence(**run, parameters=asked, tasks=[first]))
        assert "no limit" in str(section)


def test_warnings_of_the_measurement_stand_in_the_report_and_in_the_summary(run, runs, tmp_path):
    warning = "Latency at batch 1: the machine was busy."
    runs.complete_run(run, warnings=(warning,))
    html, summary = report(run, tmp_path)
    assert summary["warnings"] == [warning]
    assert "Not measured as it should be" in html
    assert warning in html


def test_an_evaluation_of_an_earlier_version_costs_the_result_and_is_named(run, tmp_path):
    old = json.dumps({"format": 1, "split": "test", "candidate": {"top1": 0.9}}).encode()
    artifacts = run.artifact("evaluation", "evaluation", {"evaluation.json": old})
    run.task("exit-handler-1/evaluate", "evaluate", 1.0, artifacts=artifacts)
    html, summary = report(run, tmp_path)
    assert "Result" not in headings(html)
    assert "this evaluation was made by an earlier version of trimtab (format 1); evaluate again" in html
    assert summary["rows"] == []


def test_iterations_are_named_by_what_their_own_loop_varies():
    given = {
        "run/prepare/parts/[0]": {"name": "part 1 of 2", "number": 0, "of": 2},
        "run/prepare/parts/[1]": {"name": "part 2 of 2", "number": 1, "of": 2},
        "run/compress/recipes/[0]": {"macs_fraction": 0.8, "student_size": 48},
        "run/compress/recipes/[1]": {"macs_fraction": 0.6, "student_size": 48},
    }
    tasks = [
        Task(path=f"{lane}/work", component="c", status="succeeded", iteration=item) for lane, item in given.items()
    ]
    assert list(lane_names(tasks).values()) == ["part 1 of 2", "part 2 of 2", "macs_fraction 0.8", "macs_fraction 0.6"]
