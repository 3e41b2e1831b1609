"""Multi-head attention, with a mask that is added to the scores."""

import math

import torch
from torch import Tensor, nn

MASKED = -1e9
"""Added to the score of what must not be attended to. Finite, as an ONNX input and in differences of outputs."""


class Attention(nn.Module):
    """`softmax(q kᵀ / √d + mask) v` per head, then a projection; Vaswani et al. 2017, arXiv:1706.03762, 3.2.

    Queries are `(N, T, dim)`; keys and values `(N, heads, S, d)`; a mask broadcasts to `(N, heads, T, S)`. The width
    over all heads, `heads · d`, is that of `query.weight`: fewer heads are a smaller matrix.
    """

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.query = nn.Linear(dim, heads * head_dim)
        self.key = nn.Linear(dim, heads * head_dim)
        self.value = nn.Linear(dim, heads * head_dim)
        self.output = nn.Linear(heads * head_dim, dim)

    @property
    def num_heads(self) -> int:
        """How many heads are left."""
        return self.query.out_features // self.head_dim

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `(N, heads, S, d)` of states `(N, S, dim)`."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """The values weighted by attention for each query, `(N, T, dim)`."""
        scores = self._split(self.query(queries)) @ keys.transpose(-1, -2) / math.sqrt(self.head_dim)
        if mask is not None:
            scores = scores + mask
        gathered = scores.softmax(dim=-1) @ values
        return self.output(gathered.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Float `(length, length)`: `MASKED` where the key is later than the query, else 0."""
    return torch.full((length, length), MASKED, device=device).triu(1)
