"""How much each channel matters: pure functions of weights and gradients."""

import torch
from torch import Tensor


def magnitude_scores(weight: Tensor, *, dim: int = 0) -> Tensor:
    """`‖w_c‖₂` for each channel c: the length of the filter.

    weight: any shape, channels along `dim`. Returns (channels,) ≥ 0. Needs no data. Li et al. 2017, arXiv:1608.08710.
    """
    return weight.transpose(0, dim).flatten(1).norm(dim=1)


def taylor_terms(weight: Tensor, gradient: Tensor, *, dim: int = 0) -> Tensor:
    """`Σ w·g` for each channel c, the sum over all entries of the channel, with its sign.

    To first order the loss falls by this when the channel is set to zero: ΔL ≈ Σ_i (0 − w_i) · ∂L/∂w_i. A channel that
    several layers read, or one layer at several positions, has one term for each: they are added before the magnitude
    is taken, because they may cancel. weight, gradient: same shape, channels along `dim`. Returns (channels,).
    At a minimum the gradient of the whole data set vanishes, so take the magnitude of each batch and combine with
    `root_mean_square`. Molchanov et al. 2019, arXiv:1906.10771.
    """
    return (weight * gradient).transpose(0, dim).flatten(1).sum(dim=1)


def root_mean_square(scores: Tensor) -> Tensor:
    """`√(mean over batches of s²)`: (batches, channels) → (channels,).

    Molchanov's estimate of (ΔL)², back on the scale of the loss; the mean square of Σ w·g is also the diagonal of the
    empirical Fisher information along the channel (Theis et al. 2018, arXiv:1801.05787).
    """
    return scores.square().mean(dim=0).sqrt()


def per_cost(scores: Tensor, macs_per_channel: float, *, exponent: float = 0.5) -> Tensor:
    """`s / m^e`: what is lost for what is saved, so that channels of different layers can be ranked together.

    m > 0 is the number of multiply-accumulates that go with one channel. e = 1 is the ratio a knapsack would use, e = 0
    leaves the scores alone. First-order scores misjudge large cuts, and e = 1 then empties the early layers, where a
    channel costs most; between the two is the square root.
    """
    return scores / torch.tensor(macs_per_channel, dtype=scores.dtype) ** exponent
