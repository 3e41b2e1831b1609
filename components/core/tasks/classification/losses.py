"""Cross-entropy of one label per image, as a sum."""

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy in nats, summed over images; logits `(N, classes)`, targets `(N,)` int64.

    With smoothing ε the target is (1−ε) on the label and ε/classes everywhere (Szegedy et al. 2016,
    arXiv:1512.00567). `class_weight` `(classes,)` multiplies the term of each class; None is 1.
    """
    return F.cross_entropy(logits, targets, weight=class_weight, reduction="sum", label_smoothing=label_smoothing)
