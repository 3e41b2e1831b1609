"""What a component gets told to write, and what it wrote: KFP's executor input and executor output."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results.payload import Payload, content_digest, is_remote, local_path, payload_at
from pipelines.runner.ir.parameters import typed
from pipelines.runner.ir.pipeline import Component
from pipelines.runner.processes.launch import Folders
from pipelines.runner.tasks.artifacts import public, take_custom_path
from pipelines.runner.tasks.inputs import Inputs

OUTPUT_FILE = "executor_output.json"


def executor_input(component: Component, inputs: Inputs, folders: Folders) -> dict[str, Any]:
    """KFP's executor input for one task."""
    return {
        "inputs": {
            "parameterValues": dict(inputs.parameters),
            "artifacts": {
                name: {"artifacts": [public(item) for item in items]} for name, items in inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": str(folders.work / "outputs" / name)} for name in component.output_parameters
            },
            "artifacts": {
                name: {
                    "artifacts": [
                        {
                            "name": name,
                            "type": {"schemaTitle": port.schema_title, "schemaVersion": port.schema_version},
                            "uri": str(folders.artifact(name, port)),
                            "metadata": dict(port.metadata),
                        }
                    ]
                }
                for name, port in component.output_artifacts.items()
            },
            "outputFile": str(folders.work / OUTPUT_FILE),
        },
    }


def make_output_folders(given: Mapping[str, Any]) -> None:
    """The folders that a container's launcher makes before the command starts."""
    outputs = given["outputs"]
    for item in outputs["parameters"].values():
        Path(item["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
    for item in outputs["artifacts"].values():
        Path(item["artifacts"][0]["uri"]).parent.mkdir(parents=True, exist_ok=True)


def collect(
    component: Component, given: Mapping[str, Any], folders: Folders
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Reads what a task wrote: output parameters by their types, output artifacts with their content digests.

    Raises:
        UserError: an output is not of its declared type, or the executor output is no JSON.
    """
    path = folders.work / OUTPUT_FILE
    written = _read_output(path)
    parameters: dict[str, Any] = {}
    for name, port in component.output_parameters.items():
        value = written["parameterValues"].get(name)
        file = Path(given["outputs"]["parameters"][name]["outputFile"])
        if value is None and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            # As KFP's launcher: text is text, everything else JSON (True and False may be Python's).
            value = text if port.type == "STRING" else text.strip().lower() if port.type == "BOOLEAN" else text.strip()
        if value is not None:
            parameters[name] = typed(value, port.type, f"output {name!r}")
    artifacts: dict[str, list[dict[str, Any]]] = {}
    for name, item in given["outputs"]["artifacts"].items():
        listed = written["artifacts"].get(name, {}).get("artifacts") or [{}]
        place = folders.artifact(name, component.output_artifacts[name])
        artifacts[name] = [_artifact(item["artifacts"][0], wrote, place, folders.work) for wrote in listed]
    return parameters, artifacts


def _read_output(path: Path) -> dict[str, dict[str, Any]]:
    """KFP's executor output; a component that has none, such as a plain command, wrote nothing."""
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        parameters = dict(written.get("parameterValues") or {})
        artifacts = {
            name: {"artifacts": [dict(artifact) for artifact in item.get("artifacts") or ()]}
            for name, item in (written.get("artifacts") or {}).items()
        }
    except (ValueError, TypeError, AttributeError):
        raise UserError("its executor output is not of KFP's form") from None
    return {"parameterValues": parameters, "artifacts": artifacts}


def _artifact(promised: Mapping[str, Any], wrote: Mapping[str, Any], place: Path, work: Path) -> dict[str, Any]:
    artifact: dict[str, Any] = {
        "name": wrote.get("name") or promised["name"],
        "type": promised["type"],
        "uri": wrote.get("uri") or promised["uri"],
        "metadata": {**promised["metadata"], **(wrote.get("metadata") or {})},
    }
    if wrote.get("custom_path"):
        take_custom_path(artifact, wrote["custom_path"], place)
    elif not is_remote(artifact) and Path(local_path(artifact["uri"])).is_relative_to(work):
        # dsl.get_uri: the task's own folder, which goes away with the run's end.
        take_custom_path(artifact, local_path(artifact["uri"]), place)
    payload = Payload(kind="none") if is_remote(artifact) else payload_at(Path(local_path(artifact["uri"])))
    artifact["content"] = content_digest(artifact, payload)
    return artifact
