"""One stage on this machine, with KFP's launcher around its container played by hand."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import dsl

import components
from components.core.results import recall
from pipelines.runner.records.journal import digest_or_uri
from pipelines.runner.records.state import TaskRecord

STAGES = Path(components.__file__).parent
RECALLED = {
    "data_prep", "backbone_selection", "fine_tune", "prune", "distill", "quantize", "evaluate", "choose", "export",
}  # fmt: skip
THREADS = {**dict.fromkeys(RECALLED, "1"), "backbone_selection": "2", "fine_tune": "2", "evaluate": "2"}


@dataclass(frozen=True, kw_only=True)
class Done:
    """A container that has ended well: its log, and where its executor output and artifacts are."""

    log: str
    output: dict[str, Any]

    def metadata(self, name: str) -> dict[str, Any]:
        return self.output["artifacts"][name]["artifacts"][0]["metadata"]

    def files(self, name: str) -> dict[str, bytes]:
        return files_at(Path(self.output["artifacts"][name]["artifacts"][0]["uri"]))


def files_at(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def launch(stage: str, folder: Path, store: Path, *, parameters: dict[str, Any], outputs: dict[str, str]) -> Done:
    artifacts = {
        name: {
            "artifacts": [{
                "name": name, "type": {"schemaTitle": kind, "schemaVersion": "0.0.1"},
                "uri": str(folder / name), "metadata": {},
            }]
        }
        for name, kind in outputs.items()
    }  # fmt: skip
    given = {
        "inputs": {"parameterValues": parameters},
        "outputs": {"artifacts": artifacts, "outputFile": str(folder / "output.json")},
    }
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    environment |= {"TRIMTAB_STORE": str(store), recall.THREADS_VARIABLE: "1", "TRIMTAB_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [
            sys.executable, "-m", "kfp.dsl.executor_main", "--executor_input", json.dumps(given),
            "--component_module_path", str(STAGES / stage / "component.py"), "--function_to_execute", stage,
        ],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return Done(log=done.stdout + done.stderr, output=json.loads((folder / "output.json").read_text()))


def by_digest(task: TaskRecord) -> dict[str, dict[str, Any]]:
    """The output artifacts of a task by what names them in the records of their consumers."""
    return {digest_or_uri(item): item for items in task.output_artifacts.values() for item in items}


def key_there(task: TaskRecord, artifacts: dict[str, dict[str, Any]]) -> str:
    """The key that the stage computes in a container that got the same inputs as this task of a local run."""
    component = getattr(importlib.import_module(f"components.{task.component}.component"), task.component)
    inputs = {name: [artifacts[digest] for digest in digests] for name, digests in task.input_artifacts.items()}
    lists = {name for name, spec in component.component_spec.inputs.items() if getattr(spec, "is_artifact_list", False)}
    passed: dict[str, Any] = {}
    for name, items in inputs.items():
        made = [dsl.Artifact(name=name, uri=item["uri"], metadata=item["metadata"]) for item in items]
        passed[name] = made if name in lists else made[0]
    given = {
        "inputs": {
            "parameterValues": task.parameters,
            "artifacts": {name: {"artifacts": items} for name, items in inputs.items()},
        },
        "outputs": {
            "artifacts": dict.fromkeys(task.output_artifacts),
            "parameters": dict.fromkeys(task.output_parameters),
        },
    }
    function = component.python_func.__wrapped__
    threads = int(os.environ[recall.THREADS_VARIABLE])
    return recall._key(function, STAGES / task.component, given, passed, threads)
