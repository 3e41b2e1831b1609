"""A release as serving platforms expect it: a model repository of Triton, and an InferenceService of KServe.

Triton's layout: `MODEL/config.pbtxt` and `MODEL/1/model.onnx` (docs: Model Repository, Model Configuration). KServe's
ONNX runtime is Triton, so it takes the same folder. Neither changes a served byte: the release keeps its digest.
"""

import json
import re
from typing import Any

import yaml

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.runtime.metadata import PREFIX
from components.core.runtime.sessions import open_session
from components.export.folding import folded

CONFIG, SERVICE, LABELS = "config.pbtxt", "inferenceservice.yaml", "labels.txt"
MODEL = "1/model.onnx"
RUNTIME = "kserve-tritonserver"
"""The name of Triton's ClusterServingRuntime in KServe's own manifests."""

_TYPES = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8", "tensor(int64)": "TYPE_INT64"}

# KServe makes a service and a host name of it, with a suffix; a DNS label has at most 63 characters.
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+")


def model_repository(bundle: OnnxBundle, *, name: str, release: str, is_folded: bool = False) -> dict[str, bytes]:
    """The files of a model repository with one model, by path.

    Args:
        bundle: of one graph, whose first dimension of each input and output is the batch.
        name: of the model, and so of its folder.
        release: what it is, `NAME/VERSION`, for the model's parameters.
        is_folded: with preprocessing and probabilities inside the graph (`folding.py`).

    Raises:
        UserError: the bundle has several graphs, which a client calls one after another.
    """
    if len(bundle.graphs) != 1:
        raise UserError(
            f"{release} has {len(bundle.graphs)} graphs ({', '.join(bundle.graphs)}) that its client calls in turn, "
            f"once per step; a model repository serves one graph in one call. Serve a release of {bundle.task.title} "
            "with its client"
        )
    (path,) = bundle.graphs.values()
    model = folded(bundle) if is_folded else path.read_bytes()
    session = open_session(model)
    labels = bundle.assets.labels
    # One label per line, for Triton's classification extension; a name with a line break cannot stand there.
    listed = [*session.get_outputs()[0].shape[1:]] == [len(labels)] and all(
        len(one.splitlines()) == 1 for one in labels
    )
    config = _config(session, name=name, release=release, rows=bundle.task.large_batch, has_labels=listed)
    files = {f"{name}/{CONFIG}": config.encode(), f"{name}/{MODEL}": model}
    return {**files, f"{name}/{LABELS}": "".join(f"{one}\n" for one in labels).encode()} if listed else files


def inference_service(*, name: str, release: str, uri: str) -> bytes:
    """KServe's manifest for a model repository that was copied to `uri`; names the runtime, as YAML.

    Args:
        name: of the service and of the model: KServe's URLs hold both.
        release: what it is, `NAME/VERSION`, for an annotation.
        uri: s3://…, gs://…, pvc://…: what KServe's storage initializer fetches.

    Raises:
        UserError: Kubernetes takes no such name, or `uri` is none.
    """
    if not _SERVICE_NAME.fullmatch(name):
        raise UserError(
            f"an InferenceService cannot be called {name!r}: at most 53 lower-case letters, digits and hyphens, "
            "beginning with a letter; give another with --name"
        )
    if not _URI.fullmatch(uri):
        raise UserError(f"--uri must be where KServe fetches from, such as s3://bucket/folder; got {uri!r}")
    model = {
        "modelFormat": {"name": "onnx"},
        # Without it KServe looks for a runtime with protocol v1, and finds none for ONNX.
        "protocolVersion": "v2",
        "runtime": RUNTIME,
        "storageUri": uri,
    }
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"trimtab/release": release}},
        "spec": {"predictor": {"model": model}},
    }
    return yaml.safe_dump(service, sort_keys=False).encode()


def _config(session: Any, *, name: str, release: str, rows: int, has_labels: bool) -> str:
    """Text of Triton's ModelConfig.

    CPU: that is where the release was verified, and int8 kernels of a GPU compute otherwise. What the file's metadata
    says of preprocessing, labels and temperature is a parameter too, since a server shows clients no metadata.
    """
    facts = session.get_modelmeta().custom_metadata_map
    shown = {key: value for key, value in sorted(facts.items()) if key.startswith(PREFIX)}
    last = f"    label_filename: {_quoted(LABELS)}\n" if has_labels else ""
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {rows}",
        *(_tensor("input", one) for one in session.get_inputs()),
        *(_tensor("output", one, last) for one in session.get_outputs()),
        "dynamic_batching { }",
        "instance_group [ { kind: KIND_CPU } ]",
        *(_parameter(key, value) for key, value in {f"{PREFIX}release": json.dumps(release), **shown}.items()),
    ]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, value: Any, more: str = "") -> str:
    # Triton's dims are without the batch; -1 is a free dimension.
    dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in value.shape[1:])
    head = f"    name: {_quoted(value.name)}\n    data_type: {_TYPES[value.type]}\n    dims: [ {dims} ]\n"
    return f"{kind} [\n  {{\n{head}{more}  }}\n]"


def _parameter(key: str, value: str) -> str:
    return f"parameters {{\n  key: {_quoted(key)}\n  value {{ string_value: {_quoted(value)} }}\n}}"


def _quoted(text: str) -> str:
    """A string of protobuf's text format: bytes of UTF-8, all but printable ASCII as three octal digits."""
    escaped = (
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(escaped)}"'
