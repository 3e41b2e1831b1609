"""Metadata of ONNX files: exporters' traces out, preprocessing and labels in."""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.json_documents import parse_json

# Reading what a file says needs no onnx: a server that uses a release has onnxruntime only.
if TYPE_CHECKING:
    import onnx

PREFIX = "trimtab."


def strip_metadata(model: "onnx.ModelProto") -> None:
    """Remove, in place, what does not change the result: doc strings, metadata, shapes of inner values.

    Exporters write source paths and stack traces there; a released file must not tell where it was built.
    Nodes are renumbered, so that names do not depend on what was exported before in the same process.
    """
    model.producer_name, model.producer_version = "trimtab", trimtab_version()
    model.doc_string, model.domain, model.model_version = "", "", 0
    del model.metadata_props[:]
    # onnxruntime's tools declare every operator set they know.
    used = {""} | {node.domain for graph in _graphs(model.graph) for node in graph.node}
    kept = sorted((entry for entry in model.opset_import if entry.domain in used), key=lambda entry: entry.domain)
    declared = [(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    for domain, number in declared:
        model.opset_import.add(domain=domain, version=number)
    for graph in _graphs(model.graph):
        graph.doc_string, graph.name = "", "main"
        del graph.metadata_props[:]
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            value.doc_string = ""
            del value.metadata_props[:]
        for tensor in graph.initializer:
            tensor.doc_string = ""
            del tensor.metadata_props[:]
        for number, node in enumerate(graph.node):
            node.name, node.doc_string = f"{node.op_type}_{number}", ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                attribute.doc_string = ""
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def write_metadata(model: "onnx.ModelProto", facts: Mapping[str, Any]) -> None:
    """Replace the model's metadata by `facts`, each a JSON value under `trimtab.<name>`, sorted by name."""
    del model.metadata_props[:]
    for name in sorted(facts):
        entry = model.metadata_props.add()
        entry.key = PREFIX + name
        entry.value = json.dumps(facts[name], sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_metadata(entries: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of `write_metadata`, from onnxruntime's `custom_metadata_map`.

    Raises:
        UserError: a value is no JSON.
    """
    facts: dict[str, Any] = {}
    for key, value in entries.items():
        if key.startswith(PREFIX):
            try:
                facts[key.removeprefix(PREFIX)] = parse_json(value)
            except ValueError as error:
                raise UserError(f"the ONNX file's metadata cannot be used: {key} is not JSON: {error}") from None
    return facts


def trimtab_version() -> str:
    """The installed version, or "0" when the package runs from a folder that was never installed."""
    try:
        return version("trimtab")
    except PackageNotFoundError:
        return "0"


def _graphs(graph: "onnx.GraphProto") -> "Iterator[onnx.GraphProto]":
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
