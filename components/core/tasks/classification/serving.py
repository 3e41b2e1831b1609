"""From onnxruntime's outputs to classes; numpy only, so that serving needs no torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.tasks.images.assets import ImageAssets

GRAPH, OUTPUT = "model", "logits"


def run(sessions: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`logits` float32 `(N, classes)`."""
    return {OUTPUT: sessions[GRAPH].run([OUTPUT], dict(inputs))[0]}


def predict(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The class of each image, int64 `(N,)`: the largest logit, the first of equal ones."""
    return outputs[OUTPUT].argmax(axis=1)


class Probabilities:
    """See `components.core.tasks.base.Probabilities`."""

    def labelled(self, outputs: Mapping[str, np.ndarray], batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return outputs[OUTPUT], np.asarray(batch.targets)

    def scaled(self, assets: ImageAssets, temperature: float) -> ImageAssets:
        return replace(assets, temperature=temperature)
