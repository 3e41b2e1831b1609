"""From a trained network to the float32 ONNX bundle that every other one is measured against or made from."""

import hashlib
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model
from components.core.bundles.onnx_bundle import SUFFIX, OnnxBundle, load_onnx, save_onnx
from components.core.models.complexity import count_macs, count_parameters
from components.core.models.inputs import InputSpec
from components.core.models.sparsity import share_of_zeros
from components.core.results.code import digest_of, files_of
from components.core.runtime.metadata import trimtab_version, write_metadata
from components.core.runtime.onnx_export import Export, export_onnx
from components.core.runtime.serving import INPUTS
from components.core.store import BlobDamaged, BlobMissing, Damaged, cache_key

if TYPE_CHECKING:
    from components.core.store import Store

FLOAT32 = "float32"

_REMEMBERED = "float32"
"""Name of the exports among the store's results."""

_CODE = ("bundles", "models", "runtime", "tasks")
"""Folders of core on which an export rests."""


def float32_of(manifest: Manifest, store: "Store") -> OnnxBundle:
    """The float32 export of a model artifact: made once for its weights and this code, then read from the store.

    Atomic: the record appears after all of its files. Two that export at once do the same work twice and write equal
    records. Every file is verified when it is read; an export that cannot be read is made again.

    Args:
        manifest: of a "model" artifact.
        store: where the weights are, and the export goes.

    Raises:
        ExportError, ParityError: see `export_onnx`.
    """
    code = digest_of(part for name in _CODE for part in files_of(Path(__file__).parents[1] / name))
    key = cache_key(component=_REMEMBERED, code=code, parameters={}, inputs={"model": manifest.digest})
    try:
        record = store.results.load(_REMEMBERED, key)
        if record is not None:
            bundle = load_onnx(parse_manifest(record.get("manifest")), store)
            store.results.renew(_REMEMBERED, key, record)
            return bundle
    except (ValueError, BlobMissing, BlobDamaged, Damaged) as error:
        print(f"the float32 export of model {manifest.digest[:12]} cannot be used, so it is made again: {error}")
    with tempfile.TemporaryDirectory(prefix="trimtab-float32-") as folder:
        made = float32_bundle(load_model(manifest, store), Path(folder), source_digest=manifest.digest)
        saved = save_onnx(Path(folder) / "artifact", made, store)
    store.results.save(_REMEMBERED, key, {"manifest": saved.to_json()})
    return load_onnx(saved, store)


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
    provenance[INPUTS] = {
        name: {
            "inputs": [_described(spec) for spec in graph.inputs],
            "free": dict(graph.free),
            **({"multiples": dict(graph.multiples)} if graph.multiples else {}),
        }
        for name, graph in graphs.items()
    }
    if bundle.architecture.sparse:
        provenance["zero_weights"] = share_of_zeros(bundle.module)
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


def _described(spec: InputSpec) -> dict[str, Any]:
    described = {**asdict(spec), "shape": list(spec.shape)}
    if not described.pop("typical"):
        return described
    return {**described, "typical": dict(spec.typical)}


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
