"""Parameters of a pipeline that starts from a network its user has trained: where it is, and what it is."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from components.core.parameters.parameter import Parameter, with_defaults
from components.core.parameters.rules import Range

_CHANNEL = Range(low=0, high=1)
_SPREAD = Range(low=0, high=10, above=True)

GIVEN_NETWORK = (
    Parameter(
        name="model", field="model_source", type=str, default="",
        text="Your trained model: a .safetensors or .pth checkpoint (a path or an s3:// URI), a release in the store "
        "(NAME/VERSION), or the digest of a model from an earlier run.",
    ),
    Parameter(
        name="architecture", field="model_architecture", type=str, default="",
        text="Architecture of a checkpoint: timm:NAME or torchvision:NAME. Leave empty for a release or a digest.",
    ),
    Parameter(
        name="labels", field="model_labels", type=str, default="",
        text="Class names of a checkpoint, in the order of its outputs: a text file with one name per line, a JSON "
        "file, or the names separated by commas. Empty takes the names stored in the model.",
    ),
    Parameter(
        name="mean", type=list[float], default=[], rule=_CHANNEL,
        text="Mean of R, G and B (0 to 1) with which the checkpoint's training images were normalised. Empty uses "
        "the mean of the library's pretrained weights.",
    ),
    Parameter(
        name="std", type=list[float], default=[], rule=_SPREAD,
        text="Standard deviation of R, G and B with which the checkpoint's training images were normalised. Empty "
        "uses that of the library's pretrained weights.",
    ),
)  # fmt: skip

_FIELDS = {"distill_epochs": "search_distill_epochs", "seed": None, "image_size": "model_image_size"}
"""Other places on this form."""

_TEXTS = {
    "image_size": "Side of the model's input in pixels. 0 keeps the size of a release; for a checkpoint it uses the "
    "default size of the library's pretrained weights.",
    "distill_epochs": "Epochs of distillation, with the given model as the teacher. 0 trains nothing.",
}


def of_given_network(parameters: Iterable[Parameter], defaults: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """A task's parameters without those that make a first network, with this form's own.

    Args:
        parameters: of the task.
        defaults: the task's other defaults for this form, by name.
    """
    kept = (one for one in parameters if not one.makes_network)
    placed = (replace(one, field=_FIELDS[one.name]) if one.name in _FIELDS else one for one in kept)
    explained = (replace(one, text=_TEXTS.get(one.name, one.text)) for one in placed)
    return (*with_defaults(explained, prune_targets=[1.0, 0.6], **defaults), *GIVEN_NETWORK)
