"""Cross-entropy per target piece with label smoothing, as a sum over the pieces that count."""

import torch.nn.functional as F
from torch import Tensor


def token_cross_entropy_sum(logits: Tensor, target: Tensor, weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """`Σ_counted −Σ_v q_v log p_v` with `q = (1 − ε) · onehot + ε / V`, a scalar.

    Divided by the number of counted pieces it is the loss per piece. Szegedy et al. 2016, arXiv:1512.00567, 7.

    Args:
        logits: `(N, T, V)`.
        target: int64 `(N, T)`.
        weight: bool `(N, T)`; false for padding, whose logits get no gradient.
        smoothing: ε in [0, 1).

    Raises:
        ValueError: smoothing out of range.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {smoothing}")
    # Only what counts meets the output's softmax: half of a batch can be padding.
    return F.cross_entropy(logits[weight], target[weight], label_smoothing=smoothing, reduction="sum")


def comparable(logits: Tensor, weight: Tensor) -> Tensor:
    """Logits `(M, V)` of the pieces that count, in their order: what word-level distillation compares."""
    return logits[weight]
