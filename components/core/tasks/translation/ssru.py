"""SSRU: the recurrent cell that takes the place of self-attention in fast decoders."""

import torch
from torch import Tensor, nn


class SSRU(nn.Module):
    """`f = σ(W_f x + b)`, `c_t = f ⊙ c_{t−1} + (1 − f) ⊙ W x`, output `relu(c_t)`; Kim et al. 2019, D19-5632, eq. 2.

    Attributes:
        forget: W_f and b. candidate: W, which has no bias.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.forget = nn.Linear(dim, dim)
        self.candidate = nn.Linear(dim, dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """All steps at once, from c = 0: states `(N, T, dim)` → outputs of the same shape."""
        keep = torch.sigmoid(self.forget(states))
        return linear_recurrence(keep, (1 - keep) * self.candidate(states)).relu()

    def step(self, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step: state and c `(N, dim)` → output and the next c."""
        keep = torch.sigmoid(self.forget(state))
        cell = keep * cell + (1 - keep) * self.candidate(state)
        return cell.relu(), cell


def linear_recurrence(factors: Tensor, terms: Tensor) -> Tensor:
    """`c_t = factors_t · c_{t−1} + terms_t` with c = 0 before the first; `(N, T, D)` each.

    A scan by doubling, log₂ T rounds: after round r each element spans the last 2^r steps. Nothing is divided, so
    it stays exact where products of factors vanish, which a closed form by cumulative products does not.
    Hillis and Steele 1986.
    """
    length, span = terms.shape[1], 1
    while span < length:
        carried = terms[:, span:] + factors[:, span:] * terms[:, :-span]
        product = factors[:, span:] * factors[:, :-span]
        terms = torch.cat([terms[:, :span], carried], dim=1)
        factors = torch.cat([factors[:, :span], product], dim=1)
        span *= 2
    return terms
