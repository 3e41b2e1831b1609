"""Losses a pixel. Each returns a sum over the pixels that count; the caller divides by their number.

That number is counted over all processes and accumulated batches, so that a pixel weighs the same wherever it falls.
Shapes: logits `(N, C, H, W)`, targets int64 `(N, H, W)` in [0, C) wherever `weight` is true (anything elsewhere),
`weight` bool `(N, H, W)`: which pixels count.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from components.core.tasks.segmentation.parameters import LOSSES

AUXILIARY_WEIGHT = 0.4
"""Weight of the auxiliary head's loss (Zhao et al. 2017, arXiv:1612.01105, §4)."""

_DICE_SMOOTHING = 1.0


def segmentation_loss(
    logits: Tensor, targets: Tensor, weight: Tensor, *, kind: str, class_weight: Tensor | None = None
) -> Tensor:
    """The training loss by name, a scalar sum over counted pixels: one of `LOSSES`; the last is the sum of both."""
    if kind == "cross_entropy":
        return cross_entropy_sum(logits, targets, weight, class_weight=class_weight)
    if kind == "dice":
        return dice_sum(logits, targets, weight)
    if kind == "cross_entropy+dice":
        return cross_entropy_sum(logits, targets, weight, class_weight=class_weight) + dice_sum(logits, targets, weight)
    raise ValueError(f"unknown loss {kind!r}; available: {', '.join(LOSSES)}")


def cross_entropy_sum(logits: Tensor, targets: Tensor, weight: Tensor, *, class_weight: Tensor | None = None) -> Tensor:
    """`Σ_counted w[t] · −log softmax(x)[t]` in nats, a scalar; `class_weight` `(C,)`, None = 1.

    Divided by the number of counted pixels, not by the sum of their class weights: weights with mean 1 over the
    training pixels (`balance.class_weights`) then leave the loss on its scale, and batches add up.
    """
    counted = torch.where(weight, targets, _IGNORED)
    return F.cross_entropy(logits, counted, weight=class_weight, ignore_index=_IGNORED, reduction="sum")


def dice_sum(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """`Σ_images n_i · (1 − mean_c D_ic)`, a scalar, n_i the counted pixels of image i and D the soft Dice coefficient.

    `D_c = (2·Σ p_c·y_c + 1) / (Σ p_c + Σ y_c + 1)` over the counted pixels, p the softmax, y one-hot; the mean is over
    the classes that the image shows. Divided by the number of counted pixels it is the mean over images weighted by
    their pixels. Milletari et al. 2016, arXiv:1606.04797, with plain instead of squared sums in the denominator.
    """
    counted = weight.unsqueeze(1).to(logits.dtype)
    probabilities = logits.softmax(dim=1) * counted
    truth = F.one_hot(torch.where(weight, targets, 0), logits.shape[1]).permute(0, 3, 1, 2).to(logits.dtype) * counted
    overlap = (probabilities * truth).sum(dim=(2, 3))
    sizes = probabilities.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    dice = (2 * overlap + _DICE_SMOOTHING) / (sizes + _DICE_SMOOTHING)
    shown = (truth.sum(dim=(2, 3)) > 0).to(logits.dtype)
    # An image without a counted pixel has no class and weighs nothing.
    mean = (dice * shown).sum(dim=1) / shown.sum(dim=1).clamp_min(1)
    return (weight.sum(dim=(1, 2)).to(logits.dtype) * (1 - mean)).sum()


def channel_distillation_sum(
    student_logits: Tensor, teacher_logits: Tensor, weight: Tensor, *, temperature: float
) -> Tensor:
    """`Σ_images n_i · T²/C · Σ_c KL(φ(t_c/T) ‖ φ(s_c/T))`, φ the softmax over the counted pixels of channel c.

    n_i is the number of counted pixels of image i: divided by the number of counted pixels it is the mean over images
    weighted by their pixels. Each class is a map of where it is, which lets the teacher's salient regions weigh most.
    Gradients reach the student only.
    Shu et al. 2021, arXiv:2011.13256, eq. 2–4.
    """
    left_out = ~weight.unsqueeze(1)
    # The lowest finite number, not −∞: an image without counted pixels then gives 0, not NaN.
    lowest = torch.finfo(student_logits.dtype).min
    student = F.log_softmax((student_logits / temperature).masked_fill(left_out, lowest).flatten(2), dim=2)
    teacher = F.log_softmax((teacher_logits.detach() / temperature).masked_fill(left_out, lowest).flatten(2), dim=2)
    terms = teacher.exp() * (teacher - student)
    divergence = torch.where(weight.flatten(1).unsqueeze(1), terms, 0).sum(dim=2).mean(dim=1)
    return temperature**2 * (weight.sum(dim=(1, 2)).to(divergence.dtype) * divergence).sum()


_IGNORED = -100
