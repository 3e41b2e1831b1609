"""Outputs that a component is told to write, and those it wrote: KFP's executor input and executor output."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from components.core.errors import UserError
from components.core.results.payload import always, content_digest, is_remote, local_path, payload_of
from pipelines.runner.beneath import read_file
from pipelines.runner.ir.parameters import plain, typed
from pipelines.runner.ir.pipeline import Component
from pipelines.runner.processes.launch import Folders
from pipelines.runner.tasks.artifacts import public, take_contained, take_custom_path
from pipelines.runner.tasks.inputs import Inputs

OUTPUT_FILE = "executor_output.json"
MOST_BYTES = 16 * 2**20
"""Of the executor output, and of one output parameter; bytes belong into an artifact."""

_MOST_ARTIFACTS = 100
"""Of one output, of which a component writes one: each is hashed, and all may be the same gigabytes."""

T = TypeVar("T")


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
    component: Component,
    given: Mapping[str, Any],
    folders: Folders,
    *,
    shared: Sequence[Path] | None = None,
    is_wanted: Callable[[], bool] = always,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Reads what a task wrote: output parameters by their types, output artifacts with their content digests.

    Args:
        component: declares the outputs.
        given: the executor input.
        folders: the task's own.
        shared: of a task in a container, what else it could write to; its outputs lie there or in its own folders, or
            are one of its inputs. None for a task with the user's own rights, whose outputs may lie anywhere.
        is_wanted: asked at each file of an artifact.

    Raises:
        UserError: an output is not of its declared type, is too large, or lies behind a link; or the executor output is
            not of KFP's form.
        OSError: something cannot be read.
        Abandoned: it is not wanted any longer.
    """
    written = _read_output(folders.work)
    parameters: dict[str, Any] = {}
    for name, port in component.output_parameters.items():
        value = written["parameterValues"].get(name)
        content = None
        if value is None:
            content = read_file(folders.work, f"outputs/{name}", most_bytes=MOST_BYTES)
        if content is not None:
            text = content.decode("utf-8", errors="replace")
            # As KFP's launcher: text is text, everything else JSON (True and False may be Python's).
            value = text if port.type == "STRING" else text.strip().lower() if port.type == "BOOLEAN" else text.strip()
        if value is not None:
            parameters[name] = typed(value, port.type, f"output {name!r}")
    known = {item["uri"] for listed in given["inputs"]["artifacts"].values() for item in listed["artifacts"]}
    artifacts: dict[str, list[dict[str, Any]]] = {}
    for name, item in given["outputs"]["artifacts"].items():
        place = folders.artifact(name, component.output_artifacts[name])
        artifacts[name] = []
        for wrote in written["artifacts"].get(name) or [{}]:
            artifact = _promised(item["artifacts"][0], wrote)
            if shared is None:
                _take(artifact, wrote, place, folders.work, is_wanted)
            elif wrote.get("custom_path") or not (is_remote(artifact) or artifact["uri"] in known):
                path = wrote.get("custom_path") or local_path(artifact["uri"])
                take_contained(artifact, path, place, (folders.artifacts, folders.work, *shared), is_wanted)
            artifact["content"] = content_digest(artifact, payload_of(artifact, is_wanted), is_wanted)
            artifacts[name].append(artifact)
    return parameters, artifacts


def _read_output(work: Path) -> dict[str, dict[str, Any]]:
    """KFP's executor output, checked: `parameterValues` by name, `artifacts` as lists by name. A component that has
    none, such as a plain command, wrote nothing."""
    try:
        written = json.loads(read_file(work, OUTPUT_FILE, most_bytes=MOST_BYTES) or b"{}")
        for where, number in _not_finite(written):
            # kfp's executor writes them, and its launcher (2.17) fails the pod: protobuf cannot read them.
            raise UserError(f"it holds {json.dumps(number)}, which JSON does not allow: {where[1:]}")
        plain(written, "it")
    except UserError as error:
        raise UserError(f"its executor output cannot be read: {error}") from None
    except (ValueError, RecursionError):
        raise UserError("its executor output is not in KFP's format: it is not JSON") from None
    found: dict[str, dict[str, Any]] = {key: _of_form(written, key, dict) for key in ("parameterValues", "artifacts")}
    artifacts: dict[str, list[Any]] = {
        name: _of_form(item, "artifacts", list) for name, item in found["artifacts"].items()
    }
    for name, listed in artifacts.items():
        if len(listed) > _MOST_ARTIFACTS:
            raise UserError(
                f"its executor output is not in KFP's format: {name[:60]!r} has {len(listed):,} artifacts; at "
                f"most {_MOST_ARTIFACTS}"
            )
    for item in (item for listed in artifacts.values() for item in listed):
        if not isinstance(item, dict):
            found_text = json.dumps(item)[:60]
            raise UserError(f"its executor output is not in KFP's format: an artifact is {found_text}")
        for key, kind in (("name", str), ("uri", str), ("custom_path", str), ("metadata", dict)):
            _of_form(item, key, kind)
    return {"parameterValues": found["parameterValues"], "artifacts": artifacts}


def _not_finite(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Each NaN and infinity, with its place: `.artifacts.metrics.artifacts[0].metadata.loss`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, f"{where}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{where}[{index}]")


def _of_form(holder: Any, key: str, kind: Callable[[], T]) -> T:
    """A value, an empty one if it is missing or null."""
    value = holder.get(key) if isinstance(holder, dict) else holder
    if value is None:
        return kind()
    if not isinstance(holder, dict) or not isinstance(value, kind):  # type: ignore[arg-type]
        found = json.dumps(value)
        raise UserError(f"its executor output is not in KFP's format: {key} is {found[:60]}")
    return value


def _promised(promised: Mapping[str, Any], wrote: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": wrote.get("name") or promised["name"],
        "type": promised["type"],
        "uri": wrote.get("uri") or promised["uri"],
        "metadata": {**promised["metadata"], **(wrote.get("metadata") or {})},
    }


def _take(
    artifact: dict[str, Any], wrote: Mapping[str, Any], place: Path, work: Path, is_wanted: Callable[[], bool]
) -> None:
    if wrote.get("custom_path"):
        take_custom_path(artifact, wrote["custom_path"], place, is_wanted)
    elif not is_remote(artifact) and Path(local_path(artifact["uri"])).is_relative_to(work):
        # dsl.get_uri: the task's own folder, which goes away with the run's end.
        take_custom_path(artifact, local_path(artifact["uri"]), place, is_wanted)
