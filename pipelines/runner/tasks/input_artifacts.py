"""Input artifacts of a whole pipeline: `-p data=@path/or/uri`, beside its parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results.payload import content_digest, payload_at
from pipelines.runner.ir.parameters import pipeline_parameters
from pipelines.runner.ir.pipeline import ArtifactPort, Component
from pipelines.runner.tasks.imports import KNOWN_SOURCES, download, find_remote, import_local, is_in_bucket


def pipeline_inputs(root: Component, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The values of the parameters, and the URIs of the input artifacts, of which an optional one may be absent.

    Only an input that is declared as an artifact reads `@`, once: `@x` is the file x, `@@x` the file @x. A list of
    artifacts is written `@a,@b`.

    Raises:
        UserError: as `pipeline_parameters`; an artifact that is not given as `@…`, or is missing (named with its type).
    """
    ports = root.input_artifacts
    uris: dict[str, list[str]] = {}
    for name, port in ports.items():
        text = given.get(name, "")
        if text == "" and port.optional:
            continue
        if name in given:
            uris[name] = _uris(name, port, text)
    parameters = {name: value for name, value in given.items() if name not in ports}
    values = pipeline_parameters(root.input_parameters, parameters, others=tuple(ports))
    missing = [f"{name} ({_type(port)})" for name, port in ports.items() if name not in given and not port.optional]
    if missing:
        raise UserError(f"missing input artifact(s): {', '.join(missing)}; give them with -p name=@path-or-uri")
    return values, uris


def _uris(name: str, port: ArtifactPort, text: Any) -> list[str]:
    if not isinstance(text, str) or not text.startswith("@") or text == "@":
        example = f"-p {name}=@first,@second" if port.is_list else f"-p {name}=@path-or-uri"
        raise UserError(
            f"input {name!r} is an artifact ({_type(port)}): give it as {example}, {KNOWN_SOURCES}; got {text!r}"[:300]
        )
    return text[1:].split(",@") if port.is_list else [text[1:]]


def _type(port: ArtifactPort) -> str:
    kind = port.schema_title.removeprefix("system.")
    return f"list of {kind}" if port.is_list else kind


def bring_artifacts(root: Component, uris: Mapping[str, list[str]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The input artifacts: files of this machine in place, objects of a bucket downloaded to `folder`.

    Raises:
        UserError: nothing is at a URI, or it cannot be read; the input is named.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, items in uris.items():
        port = root.input_artifacts[name]
        kind = {"schemaTitle": port.schema_title, "schemaVersion": port.schema_version}
        promised: dict[str, Any] = {"name": name, "type": kind, "metadata": dict(port.metadata)}
        found[name] = []
        for index, uri in enumerate(items):
            place = folder / (name if not port.is_list else f"{name}-{index}")
            try:
                brought = (
                    download(find_remote(uri), promised, place) if is_in_bucket(uri) else import_local(uri, promised)
                )
            except UserError as error:
                raise UserError(f"input artifact {name!r}: {error}") from None
            found[name].append(brought)
    return found


def as_they_are_now(artifacts: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Input artifacts that a run was given earlier, with the digests of what lies there now.

    Raises:
        UserError: one is gone.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, items in artifacts.items():
        found[name] = []
        for item in items:
            payload = payload_at(Path(item["uri"]))
            if payload.kind == "none":
                raise UserError(f"the input artifact {name!r} of this run is no longer at {item['uri']}")
            found[name].append({**item, "content": content_digest(item, payload)})
    return found
