"""The assets of a network on images: preprocessing and class names."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from components.core.data.ingestion.labels import is_name
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.models.inputs import BATCH, InputSpec
from components.core.store.keys import canonical_json
from components.core.tasks.images.preprocess import Preprocess

PREPROCESS, LABELS, TEMPERATURE = "preprocess.json", "labels.json", "temperature.json"
INPUT = "images"


@dataclass(frozen=True, kw_only=True)
class ImageAssets:
    """Content of a network's files and metadata beside its weights.

    Attributes:
        preprocess: how an image becomes the network's input.
        labels: class names in the order of the outputs.
        temperature: what a classifier's logits are divided by before softmax; None is 1, of a release without
            temperature scaling.
    """

    preprocess: Preprocess
    labels: list[str]
    temperature: float | None = None

    def to_files(self) -> dict[str, bytes]:
        """`preprocess.json` and `labels.json`; `temperature.json` if there is one."""
        files = {PREPROCESS: canonical_json(self.preprocess.to_json()), LABELS: canonical_json(list(self.labels))}
        # Without it, as before there was one: the digests of releases stay.
        return files if self.temperature is None else {**files, TEMPERATURE: canonical_json(self.temperature)}

    def to_metadata(self) -> dict[str, Any]:
        """`preprocess` and `labels`; `temperature` if there is one."""
        facts = {"preprocess": self.preprocess.to_json(), "labels": list(self.labels)}
        return facts if self.temperature is None else {**facts, "temperature": self.temperature}

    def beside(self) -> dict[str, bytes]:
        """None: preprocessing and labels are inside each graph."""
        return {}

    def describe(self) -> dict[str, str]:
        """Input size and number of classes, and the temperature if there is one."""
        side = self.preprocess.image_size
        facts = {"input": f"{side} × {side} px", "classes": str(len(self.labels))}
        return facts if self.temperature is None else {**facts, "temperature": f"{self.temperature:g}"}

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """`images`, float32 (batch, 3, side, side)."""
        side = self.preprocess.image_size
        return (InputSpec(name=INPUT, dtype="float32", shape=(BATCH, 3, side, side)),)

    def resized(self, teacher: "ImageAssets", size: int) -> Self:
        """These assets at a student's input size in pixels; 0 is the teacher's.

        Raises:
            UserError: the student would see larger images than its teacher.
        """
        side = size or teacher.preprocess.image_size
        if side > teacher.preprocess.image_size:
            raise UserError(
                f"student_size must be at most the teacher's {teacher.preprocess.image_size} pixels, got {side}"
            )
        return replace(self, preprocess=replace(self.preprocess, image_size=side))


def read_image_files(files: Mapping[str, bytes]) -> tuple[Preprocess, list[str]]:
    """The inverse of `ImageAssets.to_files`; ValueError naming what is missing or wrong."""
    for name in (PREPROCESS, LABELS):
        if name not in files:
            raise ValueError(f"{name} is missing")
    return Preprocess.from_json(parse_json(files[PREPROCESS])), read_labels(parse_json(files[LABELS]))


def read_image_metadata(metadata: Mapping[str, Any]) -> tuple[Preprocess, list[str]]:
    """The inverse of `ImageAssets.to_metadata`; ValueError naming what is missing or wrong."""
    for name in ("preprocess", "labels"):
        if name not in metadata:
            raise ValueError(f"{name} is missing")
    return Preprocess.from_json(metadata["preprocess"]), read_labels(metadata["labels"])


def read_temperature(temperature: Any) -> float | None:
    """A number above 0, or None; ValueError for anything else."""
    if temperature is None:
        return None
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    # A whole number may be too large for a float.
    if not number or not 0 < temperature <= sys.float_info.max:
        raise ValueError(f"the temperature must be a number above 0, got {temperature!r}")
    return float(temperature)


def softmax(logits: np.ndarray, temperature: float | None = None) -> np.ndarray:
    """exp(zᵢ / T) / Σ exp(zⱼ / T) over the last axis, in float64, shifted by the maximum so that it cannot overflow.

    `temperature` T > 0; None is 1.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted = np.exp(shifted if temperature is None else shifted / temperature)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def read_labels(labels: Any) -> list[str]:
    """A list of class names, each one line of at most 300 characters; ValueError for anything else."""
    if not isinstance(labels, list):
        raise ValueError(f"labels must be a list of class names, got {type(labels).__name__}")
    for label in labels:
        if not is_name(label):
            raise ValueError(f"labels must be class names on one line each, got {str(label)[:40]!r}")
    return list(labels)


def check_classes(classes: Sequence[str], labels: Sequence[str], *, model: str = "model") -> None:
    """Raises `UserError` when a model was made for other classes, or another order of them, than the data set's."""
    if list(labels) != list(classes):
        raise UserError(
            f"the {model} predicts {len(labels)} classes ({_some(labels)}), the data set has {len(classes)} "
            f"({_some(classes)}); they must be the same, in the same order"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
