"""Two nodes that share a store and nothing else run what the manifest says, and leave what one process would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from train_job_nodes import command_line, free_port, lose_power, remember, start_node, start_nodes, told

import components
from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.results.payload import restore_payload
from components.core.store import Store
from components.trainjob import main

STAGES = Path(components.__file__).parent
PARAMETERS = {
    "epochs": 3, "head_epochs": 2, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1, "ema_decay": 0.8,
    "warmup_fraction": 0,
}  # fmt: skip
NO_STAGE = json.dumps({"stage": "juggle", "parameters": {}, "inputs": {}, "outputs": {}})
TAKEN_OVER = "taken over from an equal task"


def as_stage(task: dict[str, Any], folder: Path, store: Store, *, num_processes: int) -> str:
    """The stage in a pod of its own, as KFP's launcher starts it; what it said. Its outputs are in the folder."""
    folder.mkdir()

    def listed(name: str, record: dict[str, Any]) -> dict[str, Any]:
        item = restore_payload(record, folder / "inputs" / name, store)
        return {"artifacts": [{key: item[key] for key in ("name", "type", "uri", "metadata")}]}

    types = {name: {"schemaTitle": title, "schemaVersion": "0.0.1"} for name, title in task["outputs"].items()}
    given = {
        "inputs": {
            "parameterValues": {**task["parameters"], "num_processes": num_processes},
            "artifacts": {name: listed(name, record) for name, record in task["inputs"].items()},
        },
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"name": name, "type": kind, "uri": str(folder / name), "metadata": {}}]}
                for name, kind in types.items()
            },
            "outputFile": str(folder / "output.json"),
        },
    }
    done = subprocess.run(
        [
            sys.executable, "-m", "kfp.dsl.executor_main", "--executor_input", json.dumps(given),
            "--component_module_path", str(STAGES / task["stage"] / "component.py"),
            "--function_to_execute", task["stage"],
        ],
        env={**os.environ, "TRIMTAB_THREADS": "2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def manifest_of(
    store: Store, tmp_path: Path, values_file: Path, make_dataset: Any, make_bundle: Any, save_bundle: Any
) -> Callable[..., dict[str, Any]]:
    """The manifest of `trimtab trainjob` for fine-tuning on two nodes, with these parameters of the pipeline."""
    dataset = remember(store, "data_prep", "prepared", "Dataset", make_dataset(train=80, validation=17))
    bundle = make_bundle("timm:test_efficientnet")
    model = remember(store, "backbone_selection", "model", "Model", save_bundle(bundle))

    def write(**changes: float) -> dict[str, Any]:
        parameters = PARAMETERS | changes
        command_line(
            "trainjob", "fine_tune", "--nodes", "2", "--values", str(values_file),
            "--output", str(tmp_path / "job.yaml"), "--input", f"dataset={dataset}", "--input", f"model={model[:12]}",
            *(word for name, value in parameters.items() for word in ("-p", f"{name}={value}")),
        )  # fmt: skip
        manifest: dict[str, Any] = yaml.safe_load((tmp_path / "job.yaml").read_text())
        return manifest

    return write


def digest(folder: Path) -> str:
    return read_manifest(folder / "tuned", kind="model").digest


@pytest.mark.e2e
@pytest.mark.s3
def test_two_nodes_leave_what_one_process_would_where_the_pipeline_looks_for_it(
    manifest_of: Callable[..., dict[str, Any]], store: Store, tmp_path: Path
) -> None:
    manifest = manifest_of()
    nodes = start_nodes(manifest, tmp_path, free_port())
    assert [node.wait() for node in nodes] == [0, 0], nodes[0].log + nodes[1].log
    # Only the first reports and saves.
    assert "epoch 3/3" in nodes[0].log
    assert "epoch" not in nodes[1].log

    task = told(manifest)
    assert TAKEN_OVER in as_stage(task, tmp_path / "taken", store, num_processes=2)
    assert TAKEN_OVER not in as_stage(task, tmp_path / "alone", store, num_processes=1)
    result, alone = (load_model(tmp_path / name / "tuned", store).module.state_dict() for name in ("taken", "alone"))
    start = load_model(tmp_path / "alone" / "inputs" / "model", store).module.state_dict()
    for name, tensor in alone.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(result[name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    moved = max(float((alone[name] - start[name]).abs().max()) for name in alone if alone[name].is_floating_point())
    assert moved > 0.01

    # As two processes of one node, to the last bit; another time between checkpoints is another result's key.
    task["parameters"]["checkpoint_seconds"] += 1
    assert TAKEN_OVER not in as_stage(task, tmp_path / "one-node", store, num_processes=2)
    assert digest(tmp_path / "one-node") == digest(tmp_path / "taken")


@pytest.mark.e2e
@pytest.mark.s3
def test_a_node_that_is_lost_or_taken_away_comes_back_and_nothing_of_the_result_is_lost(
    manifest_of: Callable[..., dict[str, Any]], store: Store, tmp_path: Path
) -> None:
    manifest, port = manifest_of(epochs=40, checkpoint_seconds=1), free_port()
    first, second = start_nodes(manifest, tmp_path, port)
    first.wait_for("epoch 8/40")
    lose_power(second.folder)
    second = start_node(manifest, tmp_path / "node-2", 1, port)

    first.wait_for("resumed in epoch")
    second.process.terminate()
    assert second.wait() == 128 + signal.SIGTERM, second.log
    assert "asked to stop: leaving with its progress saved" in first.log
    second = start_node(manifest, tmp_path / "node-3", 1, port)

    assert [first.wait(), second.wait()] == [0, 0], first.log + second.log
    assert first.log.count("one of the processes died") == 2
    task = told(manifest)
    assert TAKEN_OVER in as_stage(task, tmp_path / "taken", store, num_processes=2)
    task["parameters"]["checkpoint_seconds"] = 3600
    assert TAKEN_OVER not in as_stage(task, tmp_path / "undisturbed", store, num_processes=2)
    assert digest(tmp_path / "taken") == digest(tmp_path / "undisturbed")


@pytest.mark.e2e
@pytest.mark.s3
def test_a_mistake_is_one_line_on_every_node_and_is_not_tried_again(
    manifest_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    manifest = manifest_of(optimizer="sgd", learning_rate=1e30, ema_decay=0)
    nodes = start_nodes(manifest, tmp_path, free_port())
    assert [node.wait() for node in nodes] == [2, 2]
    for node in nodes:
        assert "error: the loss became" in node.log.splitlines()[-1]
        assert "start again" not in node.log
    manifest["spec"]["trainer"]["numProcPerNode"] = 2
    nodes = start_nodes(manifest, tmp_path, free_port())
    assert [node.wait() for node in nodes] == [2, 2]
    assert nodes[1].log.splitlines()[-1] == (
        "error: num_processes is 2, but the job has 4 processes (nodes x processes per node)"
    )


@pytest.mark.parametrize("task", ["", "[]", "{}", '{"stage": "fine_tune"}', NO_STAGE])
def test_what_is_no_task_is_refused(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([task]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
