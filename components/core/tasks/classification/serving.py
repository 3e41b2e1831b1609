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
