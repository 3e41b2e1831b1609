"""Every stage, found by discovery, does its work in a real run."""

import importlib
from pathlib import Path

import pytest
from finished_run import function_of, stage_of

import components
from components.core.results.loaded_files import loaded_files
from components.core.store.keys import canonical_json
from components.core.tasks.parameters import COMPRESSING, FIRST, RETRAINING

ROOT = Path(components.__file__).parent
ELSEWHERE = {"teach", "plan", "pace", "halve", "pick"}
"""Stages that none of these pipelines holds; tests/race, tests/teach and tests/core/tasks/test_every_task.py run them.
"""

STAGES = sorted({path.parent.name for path in ROOT.glob("*/component.py")} - ELSEWHERE)

pytestmark = [pytest.mark.e2e, pytest.mark.demo]


def test_what_is_left_to_other_tests_is_in_no_pipeline_of_the_default_task():
    for pipeline in (FIRST, RETRAINING, COMPRESSING):
        compiled = (ROOT.parent / "pipelines" / "compiled" / f"{pipeline}.yaml").read_text()
        assert "\n    exec-prune:\n" in compiled
        assert not [stage for stage in ELSEWHERE if f"\n    exec-{stage}:\n" in compiled]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_does_its_work_in_a_real_run(stage, reduced_run, retrained_run, compressed_run):
    runs = (reduced_run, retrained_run, compressed_run)
    records = [record for run in runs for record in run.records().values() if stage_of(record) == stage]
    assert records
    module = importlib.import_module(f"components.{stage}.component")
    for record in records:
        declared = getattr(module, function_of(record)).component_spec.outputs or {}
        assert record["status"] == "succeeded"
        given = {**record["output_artifacts"], **record["output_parameters"]}
        assert set(declared) <= set(given)


@pytest.mark.parametrize("stage", STAGES)
def test_the_facts_on_an_artifact_are_plain_values_that_a_user_interface_can_show(
    stage, reduced_run, retrained_run, compressed_run
):
    runs = (reduced_run, retrained_run, compressed_run)
    records = [record for run in runs for record in run.records().values()]
    for record in [record for record in records if stage_of(record) == stage]:
        for artifacts in record["output_artifacts"].values():
            for artifact in artifacts:
                canonical_json(artifact["metadata"])


def test_bytes_are_in_the_store_and_artifacts_carry_manifests_only(reduced_run):
    blobs = reduced_run.store.blobs
    seen = 0
    for record in reduced_run.records().values():
        for artifacts in record["output_artifacts"].values():
            for artifact in artifacts:
                for entry in (artifact["manifest"] or {}).get("files", []):
                    assert blobs.size(entry["sha256"]) == entry["bytes"]
                    seen += 1
    assert seen >= 20


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_imports_in_a_real_run_counts_for_its_cached_result(
    stage, reduced_run, retrained_run, compressed_run
):
    covered = set(loaded_files(ROOT / stage))
    imported = {
        name
        for run in (reduced_run, retrained_run, compressed_run)
        for task, record in run.records().items()
        if stage_of(record) == stage and not record["cached"]
        for name in run.imported(task)
    }
    places = [Path(*name.split(".")[1:]) for name in imported]
    modules = {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")}
    loaded = {path.as_posix() for path in modules if (ROOT / path).is_file()}
    # A task that is forked off a process with modules imports only what that one has not.
    assert loaded <= covered


def test_what_the_tasks_of_a_real_run_import_was_recorded(reduced_run):
    seen = {name for task in reduced_run.records() for name in reduced_run.imported(task)}
    assert {"components.core.results.recall", "components.core.store.store", "components.core.choice.rule"} <= seen
