"""Use a released `model.onnx` from the file alone: preprocessing and labels are read from its metadata.

Needs onnxruntime, numpy and Pillow; no torch, no store, nothing beside the file.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from components.core.errors import UserError
from components.core.runtime.metadata import PREFIX, read_metadata
from components.core.runtime.sessions import SessionError, open_session
from components.core.tasks.images.assets import ImageAssets, read_image_metadata, read_temperature, softmax
from components.core.tasks.images.preprocess import Preprocess

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's answer for one image: the label, its index, and the probability of every class.

    Probabilities are softmax(logits / T), with T the release's temperature; 1 if it has none.
    """

    label: str
    index: int
    probabilities: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Release:
    """A released classifier; call it with encoded images (JPEG, PNG, ...)."""

    session: ort.InferenceSession
    assets: ImageAssets
    facts: dict[str, object]
    """Everything that the metadata holds: task, scheme, versions, ..."""

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes the network's input."""
        return self.assets.preprocess

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.assets.labels

    def __call__(self, images: Sequence[bytes]) -> list[Prediction]:
        """Predictions in the order of `images`."""
        return [prediction for batch in self._batches(images) for prediction in batch]

    def logits(self, images: Sequence[bytes]) -> np.ndarray:
        """Logits float32 `(N, classes)` of encoded images."""
        inputs = np.stack([self.preprocess(image) for image in images])
        return self.session.run([self.session.get_outputs()[0].name], {self.session.get_inputs()[0].name: inputs})[0]

    def _batches(self, images: Sequence[bytes]) -> Iterator[list[Prediction]]:
        for start in range(0, len(images), BATCH):
            logits = self.logits(images[start : start + BATCH])
            chances = softmax(logits, self.assets.temperature)
            best = chances.argmax(axis=1)
            yield [
                Prediction(label=self.labels[index], index=int(index), probabilities=row)
                for index, row in zip(best, chances, strict=True)
            ]


def load_release(model: str | os.PathLike[str] | bytes, *, threads: int = 1) -> Release:
    """Open a released ONNX file.

    Args:
        model: path of `model.onnx`, or its bytes.
        threads: threads of onnxruntime.

    Raises:
        UserError: the file cannot be opened, or its metadata lacks preprocessing or labels.
    """
    try:
        session = open_session(model, threads=threads)
    except SessionError as error:
        raise UserError(str(error)) from None
    facts = read_metadata(session.get_modelmeta().custom_metadata_map)
    missing = [PREFIX + name for name in ("preprocess", "labels") if name not in facts]
    if missing:
        raise UserError(f"the ONNX file has no {' and no '.join(missing)} in its metadata; export it with trimtab")
    try:
        preprocess, labels = read_image_metadata(facts)
        temperature = read_temperature(facts.get("temperature"))
    except ValueError as error:
        raise UserError(f"the ONNX file's metadata cannot be used: {error}") from None
    assets = ImageAssets(preprocess=preprocess, labels=labels, temperature=temperature)
    return Release(session=session, assets=assets, facts=facts)
