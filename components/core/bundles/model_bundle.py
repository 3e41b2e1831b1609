"""The model bundle: a trained network stored as weights and data, never as code.

Files: `weights.safetensors`, `architecture.json` (source and recorded surgery), and the assets of its task
(preprocessing, labels, …), written and read by the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, materialize, publish, read_manifest
from components.core.bundles.asset_files import read_asset_files
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.models.architecture import Architecture
from components.core.models.inputs import Graph, InputSpec
from components.core.store.keys import canonical_json
from components.core.tasks import Task, get_task

if TYPE_CHECKING:
    import torch

    from components.core.store import Store
    from components.core.tasks.base import Assets

KIND = "model"
WEIGHTS, ARCHITECTURE = "weights.safetensors", "architecture.json"

_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RuntimeError, FileNotFoundError)
"""Errors that a network's library raises for an architecture of other kinds of values, besides our own."""


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """A network with everything needed to rebuild and use it.

    `module` takes `inputs` in their order; `assets` belong to the architecture's task.
    """

    module: "torch.nn.Module"
    architecture: Architecture
    assets: "Assets"

    @property
    def task(self) -> Task:
        """The task that the network is for."""
        return get_task(self.architecture.task)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Inputs of the module, in order."""
        return self.task.inputs(self.assets)

    @property
    def graphs(self) -> dict[str, Graph]:
        """Parts of the network that are exported as ONNX files."""
        return self.task.graphs(self.module, self.assets)


def save_model(artifact_path: str | Path, bundle: ModelBundle, store: "Store", metadata: Mapping[str, Any]) -> Manifest:
    """Publishes the bundle as a "model" artifact. Equal weights and facts give equal bytes, hence an equal digest.

    `metadata` must be deterministic (no time, host or latency). The network's mode and device do not matter. Raises
    ValueError when rebuilding the architecture gives other shapes than the weights have.
    """
    from safetensors.torch import save

    from components.core.tasks.networks import build

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.module.state_dict().items()}
    if problem := _mismatch(build(bundle.architecture).state_dict(), state):
        raise ValueError(f"the architecture does not describe the network: {problem}")
    files: dict[str, bytes | Path] = {
        WEIGHTS: save(state),
        ARCHITECTURE: canonical_json(bundle.architecture.to_json()),
        **bundle.assets.to_files(),
    }
    return publish(artifact_path, kind=KIND, files=files, metadata=dict(metadata), store=store)


def load_model(artifact: str | Path | Manifest, store: "Store") -> ModelBundle:
    """Load the bundle at an artifact's path (or of its manifest): rebuilt, strictly loaded, on the CPU, in eval mode.

    A bundle contains no code: safetensors reads the weights, the task reads the assets, the rest is JSON. UserError
    names the file that cannot be read, or the first tensor that is missing, unknown or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from components.core.tasks.networks import build

    manifest = artifact if isinstance(artifact, Manifest) else read_manifest(artifact, kind=KIND)
    folder = materialize(manifest, store)
    try:
        architecture = Architecture.from_json(parse_json((folder / ARCHITECTURE).read_bytes()))
        assets = get_task(architecture.task).read_assets(read_asset_files(manifest, folder, (WEIGHTS, ARCHITECTURE)))
        module = build(architecture)
    except _MALFORMED as error:
        raise UserError(f"model {manifest.digest[:12]} cannot be rebuilt: {error}") from None
    try:
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"model {manifest.digest[:12]} has no readable {WEIGHTS}: {reason}") from None
    if problem := _mismatch(module.state_dict(), state):
        raise UserError(f"model {manifest.digest[:12]} does not fit its architecture: {problem}")
    module.load_state_dict(state, strict=True)
    return ModelBundle(module=module.eval(), architecture=architecture, assets=assets)


def _mismatch(model: "Mapping[str, torch.Tensor]", disk: "Mapping[str, torch.Tensor]") -> str | None:
    for name, tensor in model.items():
        if name not in disk:
            return f"{name!r} is in the model, not on disk"
        if disk[name].shape != tensor.shape:
            return f"{name!r} has shape {tuple(disk[name].shape)} on disk, {tuple(tensor.shape)} in the model"
    unknown = [name for name in disk if name not in model]
    return f"{unknown[0]!r} is on disk, not in the model" if unknown else None
