"""The check of a network that the user has trained: read and built once, before anything expensive starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.bundles.class_names import read_class_names
from components.core.bundles.own_model import own_assets, read_trained, stored_classes, stored_model
from components.core.errors import UserError
from components.core.models.checkpoint import checkpoint_file, digest_of

if TYPE_CHECKING:
    from components.core.bundles.model_bundle import ModelBundle
    from components.core.store import Store

_OF_A_CHECKPOINT = ("architecture", "labels", "mean", "std", "image_size")
_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Given:
    """`state`: sha256 of the checkpoint, or digest of the model's manifest. `classes`: in the order of the outputs."""

    state: str
    classes: tuple[str, ...]


def check_given_network(asked: Mapping[str, Any], store: "Store", *, task: str, settings: Mapping[str, Any]) -> Given:
    """Reads the model that the parameters name.

    Args:
        asked: the pipeline's parameters by their flat names.
        store: where releases and models of earlier runs are.
        task: the pipeline's.
        settings: what the task's user chose of its networks.

    Raises:
        UserError: nothing is there, the file cannot be read, it is of another architecture, or it has another number of
            outputs than there are class names, it cannot take images of this size, or it cannot be pruned although it
            is to be.
    """
    from components.core.bundles.model_bundle import ModelBundle, load_model

    manifest = stored_model(asked["model"], store)
    if manifest is not None:
        for name in _OF_A_CHECKPOINT:
            if asked[name]:
                raise UserError(f"{name} is only for a checkpoint; the model {asked['model']} in the store has its own")
        classes = stored_classes(manifest, store, task=task)
        _try(load_model(manifest, store), asked)
        return Given(state=manifest.digest, classes=classes)
    for name in ("mean", "std"):
        if len(asked[name]) not in (0, _CHANNELS):
            raise UserError(f"{name} must be three numbers, for R, G and B; got {asked[name]!r}")
    if not asked["architecture"]:
        raise UserError(
            f"architecture is empty; name the network that {asked['model']} belongs to, for instance "
            "timm:resnet50 or torchvision:resnet18"
        )
    labels = read_class_names(asked["labels"])
    with checkpoint_file(asked["model"]) as path:
        trained = read_trained(
            path, called=asked["model"], task=task, architecture=asked["architecture"], classes=labels
        )
        state = digest_of(path)
    assets = own_assets(
        trained, image_size=asked["image_size"], mean=asked["mean"], std=asked["std"], settings=settings
    )
    _try(ModelBundle(module=trained.module, architecture=trained.architecture, assets=assets), asked)
    return Given(state=state, classes=trained.classes)


def _try(bundle: "ModelBundle", asked: Mapping[str, Any]) -> None:
    from components.core.pruning.trial import check_network

    check_network(
        bundle.module,
        bundle.inputs,
        called=f"the model ({bundle.architecture.source})",
        output_layers=bundle.task.output_layers(bundle.module),
        prunes=min(asked["prune_targets"]) < 1,
        round_to=asked["round_to"],
    )
