"""A stage in its own container finds the results of local runs, and local runs find its results."""

import random
from collections.abc import Callable
from pathlib import Path

import cluster_stage as cluster
import pytest
from finished_run import FinishedRun
from kfp import compiler, dsl
from PIL import Image

from components.core.results import recall
from components.core.results.recall import THREADS_VARIABLE
from components.core.store import StoreError
from components.data_prep.component import data_prep
from pipelines.runner.conduct import RunResult
from pipelines.runner.records.state import read_tasks
from pipelines.runner.run import run_pipeline

PARAMETERS = {"task": "classification", "validation_fraction": 0.2, "test_fraction": 0.2, "max_image_mb": 10.0}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    dice = random.Random(0)
    for number in range(60):
        path = tmp_path / "pictures" / ("red" if number % 2 else "blue") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (8, 8), dice.randbytes(192)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def run_here(tmp_path: Path, pictures: Path) -> Callable[[], RunResult]:
    @dsl.pipeline(name="only-data")
    def only_data():
        task = data_prep(dataset=str(pictures), **PARAMETERS)
        task.set_cpu_request("1").set_env_variable(THREADS_VARIABLE, "1")

    def run() -> RunResult:
        path = tmp_path / "only_data.yaml"
        compiler.Compiler().compile(only_data, str(path))
        return run_pipeline(
            path, {}, listener=lambda _: None, home=tmp_path / "home", store_uri=str(tmp_path / "store")
        )

    return run


@pytest.fixture
def run_there(tmp_path: Path, pictures: Path) -> Callable[[str], "cluster.Done"]:
    """The stage as KFP's launcher starts it in a container: no runner, its inputs on the command line."""

    def run(folder: str) -> cluster.Done:
        return cluster.launch(
            "data_prep", tmp_path / folder, tmp_path / "store",
            parameters={"dataset": str(pictures), **PARAMETERS, "dataset_state": ""},
            outputs={"prepared": "system.Dataset", "metrics": "system.Metrics", "page": "system.HTML"},
        )  # fmt: skip

    return run


def test_a_stage_on_a_cluster_takes_over_what_a_local_run_has_computed(
    run_here: Callable[[], RunResult], run_there: Callable[[str], "cluster.Done"]
) -> None:
    here = run_here().tasks[0]
    there = run_there("pod")
    assert "taken over from an equal task" in there.log
    for name, (artifact,) in here.output_artifacts.items():
        assert there.metadata(name) == artifact["metadata"]
        assert there.files(name) == cluster.files_at(Path(artifact["uri"]))


def test_a_local_run_takes_over_what_a_stage_on_a_cluster_has_computed(
    run_here: Callable[[], RunResult], run_there: Callable[[str], "cluster.Done"]
) -> None:
    there = run_there("pod")
    assert "taken over" not in there.log
    here = run_here().tasks[0]
    assert here.cached
    for name, (artifact,) in here.output_artifacts.items():
        assert there.metadata(name) == artifact["metadata"]
        assert there.files(name) == cluster.files_at(Path(artifact["uri"]))
    assert "taken over" in run_there("another-pod").log


def test_a_result_with_missing_bytes_is_computed_again_with_a_warning(
    run_there: Callable[[str], "cluster.Done"], tmp_path: Path
) -> None:
    first = run_there("pod")
    for blob in (tmp_path / "store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    second = run_there("another-pod")
    assert "cannot be used, so it runs again" in second.log
    assert second.files("prepared") == first.files("prepared")


@pytest.mark.e2e
@pytest.mark.demo
def test_every_cached_stage_of_a_real_run_has_the_key_that_it_would_compute_on_a_cluster(
    reduced_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = read_tasks(reduced_run.home / "out" / "runs" / reduced_run.run_id)
    # As they came to be: what `choose` hands on is named like the model that it chose, but says more of it.
    artifacts: dict[str, dict] = {}
    seen = set()
    for task in sorted(tasks, key=lambda task: task.ended):
        stage = task.component
        if task.cache_key and stage in cluster.RECALLED:
            seen.add(stage)
            monkeypatch.setenv(THREADS_VARIABLE, cluster.THREADS[stage])
            assert cluster.key_there(task, artifacts) == task.cache_key, task.task
        artifacts |= cluster.by_digest(task)
    assert seen == cluster.RECALLED


def test_a_result_that_cannot_be_kept_is_a_failure_only_where_it_is_all_that_a_stage_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "file" / "store"))
    recall._keep("fine_tune", "key", {}, {}, 1.0)
    monkeypatch.setenv(recall.KEEP_VARIABLE, "1")
    with pytest.raises((StoreError, OSError)):
        recall._keep("fine_tune", "key", {}, {}, 1.0)
