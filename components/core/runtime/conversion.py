"""From a trained network to the float32 ONNX bundle that every other one is measured against or made from."""

import hashlib
from pathlib import Path
from typing import Any

import onnx

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import MODEL, OnnxBundle
from components.core.models.complexity import count_macs, count_parameters
from components.core.runtime.metadata import trimtab_version, write_metadata
from components.core.runtime.onnx_export import export_onnx

FLOAT32 = "float32"


def float32_bundle(bundle: ModelBundle, folder: Path, *, source_digest: str) -> OnnxBundle:
    """Export the network to `folder`/model.onnx behind the parity check, with its provenance.

    Args:
        bundle: the trained network.
        folder: where the file goes.
        source_digest: digest of the model artifact's manifest, which the provenance names.

    Raises:
        ExportError, ParityError: see `export_onnx`.
    """
    path = folder / MODEL
    export = export_onnx(bundle.module, path, image_size=bundle.preprocess.image_size)
    graph_digest = hashlib.sha256(path.read_bytes()).hexdigest()
    provenance: dict[str, Any] = {
        "task": bundle.architecture.task,
        "backbone": bundle.architecture.backbone,
        "pruned": bool(bundle.architecture.surgery),
        "scheme": FLOAT32,
        "source_model": source_digest,
        "float32_graph": graph_digest,
        "exporter": export.exporter,
        "opset": export.opset,
        "parity": export.parity,
        "complexity": {
            "parameters": count_parameters(bundle.module),
            "macs": count_macs(bundle.module, bundle.preprocess.image_size),
        },
    }
    result = OnnxBundle(model=path, preprocess=bundle.preprocess, labels=list(bundle.labels), provenance=provenance)
    model = onnx.load(path)
    describe_file(model, result)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return result


def describe_file(model: onnx.ModelProto, bundle: OnnxBundle) -> None:
    """Put into the file's metadata what is needed to use it without anything beside it."""
    write_metadata(
        model,
        {
            "preprocess": bundle.preprocess.to_json(),
            "labels": list(bundle.labels),
            "task": bundle.provenance["task"],
            "scheme": bundle.provenance["scheme"],
            "opset": model.opset_import[0].version,
            "version": trimtab_version(),
        },
    )
