"""Runs as a person starts them: caching, partial re-runs, the report, another store."""

import io
import re
import uuid
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from finished_run import stage_of
from PIL import Image

from components.core.tasks import get_task

DEMO = get_task("classification").rows.demo.file

pytestmark = [pytest.mark.e2e, pytest.mark.demo]


def executed_stages(run) -> set[str]:
    """The stages that did work, that is were not taken from the cache."""
    return {stage_of(record) for record in run.records().values() if not record["cached"]}


def test_the_run_ends_with_a_table_and_says_where_the_files_are(reduced_run):
    assert reduced_run.document["status"] == "succeeded"
    assert "baseline" in reduced_run.printed
    assert "release" in reduced_run.printed
    report = Path(reduced_run.document["outputs"]["report"])
    assert report.is_file()
    assert re.search(r"report\.html", reduced_run.printed)


def test_an_unchanged_rerun_takes_everything_from_the_cache_and_releases_the_same(reduced_run, trimtab):
    again = trimtab(reduced_run.home, parameters=reduced_run.parameters)
    assert again.code == 0, again.printed
    assert executed_stages(again) == {"preflight", "run_report"}
    assert again.document["outputs"]["release_digest"] == reduced_run.document["outputs"]["release_digest"]


def test_a_late_parameter_reruns_only_what_depends_on_it(reduced_run, trimtab):
    later = trimtab(reduced_run.home, parameters={**reduced_run.parameters, "max_drop": "19"})
    assert later.code == 0, later.printed
    assert executed_stages(later) == {"preflight", "choose", "evaluate", "export", "run_report"}
    validations = [r for t, r in later.records().items() if "[" in t and "evaluate" in t]
    assert validations
    assert all(record["cached"] for record in validations)


def test_a_budget_that_no_recipe_meets_still_delivers_the_best_and_says_so(reduced_run, trimtab):
    # Pruning could go further than these recipes do, so that nothing refuses it before the training; none meets it.
    sizes = [
        artifact["metadata"]["size_mb"]
        for record in reduced_run.records().values() if stage_of(record) == "quantize"
        for artifact in record["output_artifacts"]["quantized"]
    ]  # fmt: skip
    missed = trimtab(reduced_run.home, parameters={**reduced_run.parameters, "max_size_mb": f"{0.97 * min(sizes):.4f}"})
    assert missed.code == 0, missed.printed
    assert missed.document["outputs"]["meets_budget"] is False
    assert missed.document["outputs"]["release_digest"]
    report = Path(missed.document["outputs"]["report"]).read_text()
    assert "misses" in report.lower() or "does not meet" in report.lower() or "not meet" in report.lower()


class _Loads(HTMLParser):
    """The addresses that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in {"src", "srcset", "poster", "data"} or (name == "href" and tag in {"link", "use", "image"}):
                self.addresses.append(value or "")


def test_the_report_is_one_file_that_loads_nothing_and_shows_each_part(reduced_run):
    html = Path(reduced_run.document["outputs"]["report"]).read_text()
    loads = _Loads()
    loads.feed(html)
    assert loads.scripts == 1  # the page's own, which its policy knows by digest
    assert "default-src 'none'" in html
    assert all(address.startswith(("data:", "#")) for address in loads.addresses)
    text = re.sub(r"<[^>]+>", " ", html)
    for part in ("efficientnet_lite0", "efficientnet_lite1", "80% MACs", "60% MACs", "Ankle boot", "sha256"):
        assert part in text, part
    assert html.count("<svg") >= 4


@pytest.fixture(scope="module")
def twenty_jpegs(tmp_path_factory) -> Path:
    """20 JPEGs in 2 classes, 3 of them broken: cut off, empty, and text."""
    folder = tmp_path_factory.mktemp("jpegs") / "photos"
    table = pq.read_table(DEMO).to_pylist()
    for label, name in (
        (table[0]["label"], "one"),
        (next(r["label"] for r in table if r["label"] != table[0]["label"]), "two"),
    ):
        (folder / name).mkdir(parents=True)
        for number, row in enumerate([row for row in table if row["label"] == label][:10]):
            buffer = io.BytesIO()
            Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").save(buffer, "JPEG")
            (folder / name / f"{number}.jpg").write_bytes(buffer.getvalue())
    whole = (folder / "one" / "0.jpg").read_bytes()
    (folder / "one" / "0.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "one" / "1.jpg").write_bytes(b"")
    (folder / "two" / "2.jpg").write_text("this is no picture")
    return folder


@pytest.fixture(scope="module")
def run_of_jpegs(twenty_jpegs, trimtab, tmp_path_factory):
    """Every stage on twenty JPEGs: seconds of training, and the whole chain of artifacts."""
    run = trimtab(
        tmp_path_factory.mktemp("run_of_jpegs"),
        parameters={
            "dataset": str(twenty_jpegs),
            "backbones": "efficientnet_lite0",
            "image_size": "32",
            "epochs": "1",
            "distill_epochs": "1",
            "batch_size": "4",
            "prune_targets": "0.8,0.7",
            "calibration_images": "8",
            "latency_rounds": "5",
        },
    )
    assert run.code == 0, run.printed
    return run


def test_a_folder_of_twenty_jpegs_runs_and_the_report_names_the_three_broken_ones(run_of_jpegs):
    report = Path(run_of_jpegs.document["outputs"]["report"]).read_text()
    for name in ("one/0.jpg", "one/1.jpg", "two/2.jpg"):
        assert name in report
    assert "one/3.jpg" not in report


@pytest.mark.s3
def test_an_s3_store_gives_the_same_release_digest(run_of_jpegs, trimtab, object_store_server, tmp_path):
    uri = f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}"
    run = trimtab(tmp_path, parameters=run_of_jpegs.parameters, store=uri, environment=object_store_server.environment)
    assert run.code == 0, run.printed
    here, there = run_of_jpegs.document["outputs"], run.document["outputs"]
    if there["recipe"] == here["recipe"]:
        assert there["release_digest"] == here["release_digest"]
    students = [
        {
            t: r["output_artifacts"]["quantized"][0]["manifest"]["digest"]
            for t, r in records.items()
            if "quantized" in r["output_artifacts"]
        }
        for records in (run_of_jpegs.records(), _records_on(run, object_store_server))
    ]
    assert students[0] == students[1]
    assert len(students[0]) == 2


def _records_on(run, server) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        return run.records()
