"""`trimtab trainjob`: what it takes of the pipeline, and what it refuses in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from train_job_nodes import remember, told

from components.core.artifacts.manifest import publish
from components.core.store import open_store

Trimtab = Callable[..., Any]
STORE_BY_REFERENCE = {"defaults": {"configMapEnv": {"trimtab-store": {"TRIMTAB_STORE": "TRIMTAB_STORE"}}}}


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The artifacts that a run left in the store, by stage."""
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(STORE_BY_REFERENCE))
    store, found = open_store(str(tmp_path / "store")), {}
    for stage, output, kind in (
        ("data_prep", "prepared", "Dataset"), ("backbone_selection", "model", "Model"), ("fine_tune", "tuned", "Model"),
        ("prune", "pruned", "Model"), ("incumbent", "model", "Model"),
    ):  # fmt: skip
        path = tmp_path / "artifacts" / stage
        publish(path, kind=kind.lower(), files={"a": b"a"}, metadata={"stage": stage}, store=store)
        found[stage] = remember(store, stage, output, kind, path)
    return found


@pytest.fixture
def write(trimtab: Trimtab, digests: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """The command with the inputs that fine_tune needs, and these words; `job` is what it wrote."""

    def run(*words: str, task: str = "fine_tune", values: dict[str, Any] = STORE_BY_REFERENCE, **inputs: str) -> Any:
        given = inputs or {"dataset": digests["data_prep"], "model": digests["backbone_selection"]}
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        said = trimtab(
            "trainjob", task, "--output", "job.yaml", "--values", "values.yaml",
            *(word for name, digest in given.items() for word in ("--input", f"{name}={digest}")), *words,
        )  # fmt: skip
        path = tmp_path / "job.yaml"
        said.job = yaml.safe_load(path.read_text()) if path.exists() else None
        return said

    return run


def test_the_task_is_given_what_the_pipeline_would_give_it(write: Callable[..., Any]) -> None:
    said = write(
        "-p", "head_epochs=0", "-p", "ema_decay=0", "-p", "epochs=7", "--nodes", "4", "--processes-per-node", "2"
    )  # fmt: skip
    assert said.code == 0, said.err
    parameters = told(said.job)["parameters"]
    # Of the pipeline's form, of the pipeline's defaults, of the stage's own.
    assert (parameters["head_epochs"], parameters["ema_decay"], parameters["epochs"]) == (0, 0, 7)
    assert (parameters["batch_size"], parameters["augment"], parameters["num_processes"]) == (64, True, 8)
    assert "-p num_processes=8" in said.out
    assert write("--nodes", "2").job["metadata"]["name"] != write("--nodes", "4").job["metadata"]["name"]


def test_every_task_that_trains_can_be_one(write: Callable[..., Any], digests: dict[str, str]) -> None:
    tuned = {"dataset": digests["data_prep"], "model": digests["fine_tune"]}
    said = write("-p", "distill_epochs=5", task="baseline", **tuned)
    assert (told(said.job)["stage"], told(said.job)["parameters"]["epochs"]) == ("fine_tune", 5)
    students = {"dataset": digests["data_prep"], "teacher": digests["fine_tune"], "student": digests["prune"]}
    said = write(task="distill", **students)
    assert said.code == 2
    assert "recipe of distill is only known when the pipeline runs; give it with --set recipe=VALUE" in said.err
    recipe = {"name": "half", "student_size": 48}
    said = write("--set", f"recipe={json.dumps(recipe)}", "-p", "distill_alpha=0.5", task="distill", **students)
    assert told(said.job)["parameters"]["recipe"] == recipe
    assert told(said.job)["parameters"]["alpha"] == 0.5
    champion = {"dataset": digests["data_prep"], "model": digests["incumbent"]}
    said = write("--pipeline", "retrain", task="fine-tune the champion", **champion)
    assert told(said.job)["parameters"]["learning_rate"] == 0.0003


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nodes", "0"), "'--nodes'"),
        (("--processes-per-node", "0"), "'--processes-per-node'"),
        (("--nodes", "3"), "num_processes must be a divisor of batch_size 64; got 3"),
        (
            ("-p", "num_processes=4"),
            "num_processes is 4, but --nodes 2 and --processes-per-node 1 give 2; leave num_processes out",
        ),
        (("--set", "num_processes=2"), "give --nodes and --processes-per-node"),
        (("-p", "batch_norm=train"), "batch_norm must be frozen with several processes; got 'train'"),
        (("-p", "epochs=-1"), "epochs must be at least 0; got -1"),
        (("-p", "epoch=2"), "unknown parameter 'epoch'; did you mean 'epochs'?"),
        (("--set", "momentum=2"), "momentum must be at least 0 and less than 1; got 2"),
        (("--set", "temperature=2"), "unknown parameter 'temperature'"),
        (("--set", "momentum"), "--set 'momentum' is not of the form name=value"),
        (("--trainer", "1.9"), "--trainer must be one of 2.1, 2.2, 2.3; got '1.9'"),
        (("--name", "My_Job"), "--name: 'My_Job' is not a valid name"),
        (("--runtime", ""), "--runtime: '' is not a valid name"),
        (("--input", "labels=12345678"), "fine-tune has no input artifact 'labels' (artifacts: dataset, model)"),
        (("--store", "elsewhere"), "there is no store at"),
        (("--images", "nowhere.json"), "the images' lock file nowhere.json cannot be read"),
        (("--pipeline", "optimise"), "did you mean 'optimize'?"),
    ],
)
def test_what_cannot_work_is_one_line_and_writes_nothing(
    write: Callable[..., Any], words: tuple[str, ...], message: str
) -> None:
    said = write(*words)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.job is None


@pytest.mark.parametrize(("task", "message"), [
    ("prune", "no task called 'prune' trains in several processes; give one that does: baseline, distill, fine-tune"),
    ("fine_tun", "did you mean 'fine-tune'?"),
    ("", "no task called ''"),
])  # fmt: skip
def test_a_task_that_does_not_train_is_refused(write: Callable[..., Any], task: str, message: str) -> None:
    said = write(task=task)
    assert (said.code, said.job) == (2, None)
    assert message in said.err


def test_a_store_without_results_says_to_run_the_pipeline_first(write: Callable[..., Any], tmp_path: Path) -> None:
    open_store(str(tmp_path / "new")).blobs.put(b"of a first run")
    said = write("--store", "new", model="0" * 8)
    assert said.code == 2
    assert "(the store has no result of data_prep yet: run the pipeline first)" in said.err


def test_an_input_is_named_by_a_digest_that_its_producer_left(
    write: Callable[..., Any], digests: dict[str, str]
) -> None:
    data, model = digests["data_prep"], digests["backbone_selection"]
    assert (
        f"its digest is missing; give --input NAME=DIGEST (newest of data_prep: {data[:12]}" in write(model=model).err
    )
    assert "'' is" not in (said := write(dataset="", model=model)).err
    assert "its digest is missing" in said.err
    assert "'zz' is no digest" in write(dataset="zz", model=model).err
    assert "the store has no result with the digest 00000000" in write(dataset="00000000", model=model).err
    # A data set is no model, even where its digest is known.
    assert f"the store has no result with the digest {data}" in write(dataset=data, model=data).err
    assert write(dataset=data[:8], model=f"sha256:{model}").code == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "the job needs TRIMTAB_STORE"),
        ({"defaults": {"env": {"TRIMTAB_STORE": "s3://b/p", "RANK": "0"}}}, "torchrun sets the variable RANK itself"),
        (
            {"defaults": {"env": {"TRIMTAB_STORE": "s3://b/p", "PET_NNODES": "1"}}},
            "torchrun sets the variable PET_NNODES itself",
        ),
        (
            STORE_BY_REFERENCE | {"stages": {"fine_tune": {"accelerator": {"type": "nvidia.com/gpu", "count": 2}}}},
            "--processes-per-node 4 is more than the 2 nvidia.com/gpu",
        ),
        ({"stages": {"fine_tuning": {}}}, "there is no such stage; did you mean 'fine_tune'?"),
    ],
)
def test_values_that_no_job_can_have_are_refused(
    write: Callable[..., Any], values: dict[str, Any], message: str
) -> None:
    said = write("--processes-per-node", "4", values=values)
    assert (said.code, said.job) == (2, None)
    assert message in said.err


def test_what_a_train_job_has_no_words_for_is_said(write: Callable[..., Any], tmp_path: Path) -> None:
    values = {"defaults": {**STORE_BY_REFERENCE["defaults"], "retry": {"limit": 2}, "imagePullPolicy": "Always"}}
    said = write(values=values)
    assert "cannot express retry, imagePullPolicy: the settings of the runtime torch-distributed apply" in said.out
    assert "trimtab/train:0.1.0 is named by a tag" in said.out
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"trimtab/train": "registry.example.com/trimtab/train@sha256:" + "5e" * 32}))
    said = write("--images", str(lock))
    assert "named by a tag" not in said.out
    assert said.job["spec"]["trainer"]["image"].endswith("5e" * 32)
