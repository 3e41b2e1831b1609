"""From onnxruntime's outputs to classes; numpy only, so that serving needs no torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

GRAPH, OUTPUT = "model", "logits"


def run(sessions: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`logits` float32 `(N, classes)`."""
    return {OUTPUT: sessions[GRAPH].run([OUTPUT], dict(inputs))[0]}


def predict(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The class of each image, int64 `(N,)`: the largest logit, the first of equal ones."""
    return outputs[OUTPUT].argmax(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(zᵢ) / Σ exp(zⱼ) over the last axis, in float64, shifted by the maximum so that it cannot overflow."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
