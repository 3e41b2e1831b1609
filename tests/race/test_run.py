"""A whole search in a time box, as a user would start it, on a few images."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finished_run import FinishedRun, run_trimtab, stage_of
from PIL import Image

from components.core.artifacts.manifest import parse_manifest, read_file

pytestmark = [pytest.mark.e2e, pytest.mark.demo]

MINUTES = 15.0
TINY = {
    "time_limit_minutes": f"{MINUTES:g}", "max_drop": "50", "backbones": "efficientnet_lite0", "image_size": "32",
    "head_epochs": "0", "patience": "1", "learning_rate": "1e-12", "distill_learning_rate": "1e-12",
    "calibration_images": "32", "latency_rounds": "10",
}  # fmt: skip
"""The box is never filled, since nothing is learnt and training stops; no busy machine finds it too short."""


def write_stripes(path):
    """Horizontal blue and vertical red stripes in noise."""
    rng, rows = np.random.default_rng(0), []
    for number in range(80):
        pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
        pixels[::4, :, 2 * (number % 2 == 0)] += 120
        buffer = io.BytesIO()
        Image.fromarray(pixels.swapaxes(0, 1) if number % 2 else pixels).save(buffer, "PNG")
        rows.append({"image": buffer.getvalue(), "label": ["rows", "columns"][number % 2]})
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def raced(tmp_path_factory) -> FinishedRun:
    home = tmp_path_factory.mktemp("raced")
    write_stripes(home / "stripes.parquet")
    run = run_trimtab(home, parameters={**TINY, "dataset": str(home / "stripes.parquet")})
    assert run.code == 0, run.printed
    return run


def document(run, task, output, name):
    (record,) = [one for path, one in run.records().items() if path.endswith(task)]
    manifest = parse_manifest(record["output_artifacts"][output][0]["manifest"])
    return json.loads(read_file(manifest, name, run.store))


def test_a_limit_of_time_is_kept_and_students_of_both_rungs_are_chosen_from(raced):
    records = raced.records()
    stages = [stage_of(record) for record in records.values()]
    finalists = next(one for one in records.values() if stage_of(one) == "halve")["output_parameters"]["finalists"]
    # Half of the two, or as many as there are cores to train them side by side.
    assert 1 <= len(finalists) <= 2
    assert {stage: stages.count(stage) for stage in ("plan", "pace", "halve", "prune", "pick", "distill")} == {
        "plan": 1, "pace": 1, "halve": 1, "prune": 2, "pick": len(finalists), "distill": 2 + len(finalists),
    }  # fmt: skip
    decision = document(raced, "race/choose", "decision", "decision.json")
    assert decision["race"]["rungs"] == [2] * len(finalists) + [1, 1]
    assert [step["name"] for step in decision["race"]["steps"]] == [
        "data, backbone and plan", "teacher", "first rung", "second rung", "test and release",
    ]  # fmt: skip
    assert sum(step["real"] or 0.0 for step in decision["race"]["steps"]) < 60 * MINUTES
    timed = [
        one["output_artifacts"]["curves"][0]["metadata"]["epoch_seconds"]
        for path, one in records.items()
        if stage_of(one) == "distill" and "first-rung" in path
    ]
    (rung,) = [step for step in decision["race"]["steps"] if step["name"] == "first rung"]
    assert sorted(rung["epoch_seconds"]) == pytest.approx(sorted(timed))
    assert decision["race"]["control"].startswith("There is no control: the catalog has no backbone smaller than")
    (planned,) = [one for one in records.values() if stage_of(one) == "plan"]
    assert planned["output_parameters"]["epochs"] >= 1
    assert all(one["distill_epochs"] >= 1 for one in finalists)
    assert raced.document["outputs"]["release_version"]


def test_who_goes_on_does_so_from_the_network_that_was_distilled(raced):
    records = raced.records()
    picked = [one for one in records.values() if stage_of(one) == "pick"]
    distilled = [
        one["output_artifacts"]["distilled"][0]["metadata"]["digest"]
        for path, one in records.items()
        if stage_of(one) == "distill" and "first-rung" in path
    ]
    assert picked
    assert {one["output_artifacts"]["picked"][0]["metadata"]["digest"] for one in picked} <= set(distilled)


def test_the_report_tells_of_the_race(raced):
    page = next((raced.home / "out" / "runs").glob("*/report.html")).read_text()
    for text in ("trained to the end", "first rung", "of 15 minutes"):
        assert text.lower() in page.lower()
