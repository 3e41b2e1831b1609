"""The pipeline in its images, and each stage by itself as KFP's launcher starts it on a cluster."""

import importlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import cluster_stage as cluster
import pytest
from browser import click_everything
from finished_run import FinishedRun, stage_of

from components.core.results.recall import THREADS_VARIABLE
from components.images import DATA_IMAGE
from pipelines.runner.code.programs import _stages
from pipelines.runner.records.state import TaskRecord, read_tasks

pytestmark = [pytest.mark.containers, pytest.mark.demo, pytest.mark.timeout(3000)]

STAGES = sorted(set(_stages()) - {"teach", "plan", "pace", "halve", "pick"})
"""All but those that none of these pipelines holds; see tests/contract/test_stage_runs.py."""

# What these stages make depends on their inputs alone; the others measure times as well.
EXACT = {
    "data_prep": "prepared", "fine_tune": "tuned", "prune": "pruned", "distill": "distilled", "quantize": "quantized",
    "choose": "chosen", "adopt": "adopted",
}  # fmt: skip


def tasks_of(run: FinishedRun) -> list[TaskRecord]:
    return read_tasks(run.home / "out" / "runs" / run.run_id)


def stage(task: TaskRecord) -> str:
    return stage_of({"component": task.component})


def decisions(run: FinishedRun) -> dict[str, Any]:
    """The choice, and the digest of every network on the way, by task."""
    made = {}
    for task in tasks_of(run):
        for name, items in task.output_artifacts.items():
            if EXACT.get(stage(task)) == name:
                made[task.task] = [item["metadata"]["digest"] for item in items]
    kept = {name: run.document["outputs"][name] for name in ("recipe", "meets_budget", "release_digest")}
    return {**made, **kept}


def test_containers_decide_and_release_what_processes_do(container_run: FinishedRun, process_run: FinishedRun) -> None:
    here, there = decisions(container_run), decisions(process_run)
    assert len(here) > len(EXACT)
    assert here == there


def test_every_stage_ran_in_a_container(
    container_run: FinishedRun, retraining_run: FinishedRun, compressing_run: FinishedRun
) -> None:
    tasks = [task for run in (container_run, retraining_run, compressing_run) for task in tasks_of(run)]
    worked = [task for task in tasks if task.output_artifacts or task.output_parameters]
    assert {stage(task) for task in worked if not task.cached} == set(STAGES)
    assert {task.status for task in worked} == {"succeeded"}
    assert not any(task.cached for task in tasks_of(container_run))


def test_the_pages_of_all_stages_stay_in_the_frame_of_the_ui_whatever_is_clicked(
    container_run: FinishedRun, retraining_run: FinishedRun, compressing_run: FinishedRun, tmp_path: Path
) -> None:
    pages = pages_of([*tasks_of(container_run), *tasks_of(retraining_run), *tasks_of(compressing_run)])
    assert {name.partition("/")[0] for name in pages} >= {
        "data_prep", "backbone_selection", "fine_tune", "prune", "distill", "quantize", "evaluate", "choose", "drift",
        "judge", "run_report",
    }  # fmt: skip
    for number, (name, page) in enumerate(pages.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_page(name, page, folder)


def pages_of(tasks: list[TaskRecord]) -> dict[str, str]:
    """The pages by stage and name, the first of each."""
    found: dict[str, str] = {}
    for task in tasks:
        for name, items in task.output_artifacts.items():
            for item in items:
                if item["type"].get("schemaTitle") == "system.HTML" and Path(item["uri"]).is_file():
                    found.setdefault(f"{stage(task)}/{name}", Path(item["uri"]).read_text("utf-8"))
    return found


def check_page(name: str, page: str, folder: Path) -> None:
    """The page is in the frame, and still there after all its links, buttons and summaries were clicked."""
    seen = click_everything(page, folder, scripts=True)
    assert seen["loads"] == 1, f"{name} has left its frame: {seen}"
    # The frame shows much more than where a link would lead, and more than a page's heading.
    assert seen["shown"] > 200, f"{name} is blank: {seen}"
    expected = len(re.findall(r"<(?:a|area|summary)\b", page)) + page.count('<button type="button"')
    assert seen["clicked"] == expected, f"{name}: {seen}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_works_as_kfp_starts_it_without_root_shell_or_network(
    name: str,
    container_run: FinishedRun,
    retraining_run: FinishedRun,
    compressing_run: FinishedRun,
    images: dict[str, str],
    tmp_path: Path,
) -> None:
    # What several pipelines have is taken from the first, where nothing came from the cache.
    runs = (container_run, retraining_run, compressing_run)
    run = next(run for run in runs if name in {stage(task) for task in tasks_of(run)})
    tasks = tasks_of(run)
    task = min((task for task in tasks if stage(task) == name), key=lambda task: task.seconds)
    artifacts: dict[str, dict] = {}
    for earlier in tasks[: tasks.index(task)]:
        artifacts |= cluster.by_digest(earlier)  # the chosen model has the name of the one it was chosen from
    done = launched(name, task, artifacts, run, images, tmp_path / "out")
    assert "taken over" not in done.log
    for output, items in task.output_artifacts.items():
        assert done.files(output) or done.metadata(output), output
        if EXACT.get(name) == output:
            assert done.metadata(output)["digest"] == items[0]["metadata"]["digest"]


def launched(
    name: str, task: TaskRecord, artifacts: dict[str, dict], run: FinishedRun, images: dict[str, str], out: Path
) -> cluster.Done:
    """Starts a stage on the inputs that a task of a run had: 64 MB of /tmp, and nothing that only the runner sets."""
    out.mkdir(mode=0o777)
    # The runs' folders are the runner's; a stage on a cluster has a store that its user may write.
    for folder in (out, *(path for path in Path(run.store_uri).rglob("*") if path.is_dir())):
        folder.chmod(0o777)
    made = {
        output: {"artifacts": [{"name": output, "type": items[0]["type"], "uri": str(out / output), "metadata": {}}]}
        for output, items in task.output_artifacts.items()
    }
    given = {
        "inputs": {
            "parameterValues": task.parameters,
            "artifacts": {
                given: {"artifacts": [artifacts[digest] for digest in digests]}
                for given, digests in task.input_artifacts.items()
            },
        },
        "outputs": {
            "artifacts": made,
            "parameters": {output: {"outputFile": str(out / output)} for output in task.output_parameters},
            "outputFile": str(out / "output.json"),
        },
    }
    kept = run.home / "out" / "runs" / run.run_id / "artifacts"
    words = [
        "podman", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--tmpfs=/tmp:rw,size=64m,mode=1777", f"--volume={run.store_uri}:{run.store_uri}", f"--volume={kept}:{kept}:ro",
        f"--volume={out}:{out}", "--volume=/dev/null:/usr/bin/dash:ro", "--volume=/dev/null:/usr/bin/bash:ro",
        f"--env=TRIMTAB_STORE={run.store_uri}", f"--env={THREADS_VARIABLE}={cluster.THREADS.get(name, '1')}",
        images["data" if image_of(name) == DATA_IMAGE else "train"],
        "python3", "-m", "kfp.dsl.executor_main", "--executor_input", json.dumps(given),
        "--function_to_execute", name,
    ]  # fmt: skip
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return cluster.Done(log=done.stdout + done.stderr, output=json.loads((out / "output.json").read_text()))


def image_of(name: str) -> str:
    component = getattr(importlib.import_module(f"components.{name}.component"), name)
    return component.component_spec.implementation.container.image
