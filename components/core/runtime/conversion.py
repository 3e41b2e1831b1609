"""From a trained network to the float32 ONNX bundle that every other one is measured against or made from."""

import hashlib
from pathlib import Path
from typing import Any

import onnx

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import SUFFIX, OnnxBundle
from components.core.models.complexity import count_macs, count_parameters
from components.core.runtime.metadata import trimtab_version, write_metadata
from components.core.runtime.onnx_export import Export, export_onnx

FLOAT32 = "float32"


def float32_bundle(bundle: ModelBundle, folder: Path, *, source_digest: str) -> OnnxBundle:
    """Export the network's graphs to `folder` behind the parity check, with their provenance.

    Args:
        bundle: the trained network.
        folder: where the files go.
        source_digest: digest of the model artifact's manifest, which the provenance names.

    Raises:
        ExportError, ParityError: see `export_onnx`.
    """
    graphs = bundle.graphs
    paths = {name: folder / f"{name}{SUFFIX}" for name in graphs}
    exports = {name: export_onnx(graph, paths[name]) for name, graph in graphs.items()}
    provenance: dict[str, Any] = {
        "task": bundle.architecture.task,
        "backbone": bundle.architecture.backbone,
        "pruned": bool(bundle.architecture.surgery),
        "scheme": FLOAT32,
        "source_model": source_digest,
        "float32_graph": _digest(paths),
        **_how(exports),
        "complexity": {
            "parameters": count_parameters(bundle.module),
            "macs": count_macs(bundle.module, bundle.inputs),
        },
    }
    if bundle.architecture.options:
        provenance["options"] = dict(bundle.architecture.options)
    result = OnnxBundle(graphs=paths, assets=bundle.assets, provenance=provenance)
    for path in paths.values():
        model = onnx.load(path)
        describe_file(model, result)
        path.write_bytes(model.SerializeToString(deterministic=True))
    return result


def describe_file(model: onnx.ModelProto, bundle: OnnxBundle) -> None:
    """Put into the file's metadata what is needed to use it without anything beside it."""
    write_metadata(
        model,
        {
            **bundle.assets.to_metadata(),
            "task": bundle.provenance["task"],
            "scheme": bundle.provenance["scheme"],
            "opset": model.opset_import[0].version,
            "version": trimtab_version(),
        },
    )


def _digest(paths: dict[str, Path]) -> str:
    """sha256 of the file; of several, over the digests in the order of their names."""
    digests = [hashlib.sha256(paths[name].read_bytes()).hexdigest() for name in sorted(paths)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _how(exports: dict[str, Export]) -> dict[str, Any]:
    """Exporter, opset and parity; of several graphs the parity of the worst."""
    worst = max(exports.values(), key=lambda export: export.parity["relative_difference"])
    return {
        "exporter": ", ".join(sorted({export.exporter for export in exports.values()})),
        "opset": max(export.opset for export in exports.values()),
        "parity": worst.parity,
    }
