"""Encoder-decoders of the Marian family: for training at once, for decoding step by step.

Source and target are piece numbers `(N, S)` and `(N, T)` int64; each row ends with eos and is padded with eos, so that
no mask has to travel beside them: what follows a row's first eos is padding.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.tasks.translation.attention import MASKED, Attention, causal_mask
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.ssru import SSRU


class FeedForward(nn.Module):
    """`W₂ a(W₁ x)`, both with biases."""

    def __init__(self, dim: int, width: int, activation: str) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, width)
        self.contract = nn.Linear(width, dim)
        self.activation = activation

    def forward(self, states: Tensor) -> Tensor:
        """`(…, dim)` → `(…, dim)`."""
        inner = self.expand(states)
        return self.contract(inner.relu() if self.activation == "relu" else F.silu(inner))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer, each with a residual and a norm."""

    def __init__(self, config: EncoderDecoderConfig, number: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.attention = Attention(config.dim, config.sizes("encoder_heads")[number], config.head_dim)
        self.attention_norm = nn.LayerNorm(config.dim, config.epsilon)
        self.ffn = FeedForward(config.dim, config.sizes("encoder_widths")[number], config.activation)
        self.ffn_norm = nn.LayerNorm(config.dim, config.epsilon)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States `(N, S, dim)`, mask `(N, 1, 1, S)`."""
        normed = self.attention_norm(states) if self.pre else states
        states = states + self.attention(normed, *self.attention.keys_values(normed), mask)
        if self.pre:
            return states + self.ffn(self.ffn_norm(states))
        states = self.attention_norm(states)
        return self.ffn_norm(states + self.ffn(states))


class DecoderLayer(nn.Module):
    """Self-attention or an SSRU, cross-attention and a feed-forward layer, each with a residual and a norm."""

    def __init__(self, config: EncoderDecoderConfig, number: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.past: SSRU | Attention
        if config.decoder_cell == "ssru":
            self.past = SSRU(config.dim)
        else:
            self.past = Attention(config.dim, config.sizes("past_heads")[number], config.head_dim)
        self.past_norm = nn.LayerNorm(config.dim, config.epsilon)
        self.cross = Attention(config.dim, config.sizes("cross_heads")[number], config.head_dim)
        self.cross_norm = nn.LayerNorm(config.dim, config.epsilon)
        self.ffn = FeedForward(config.dim, config.sizes("decoder_widths")[number], config.activation)
        self.ffn_norm = nn.LayerNorm(config.dim, config.epsilon)

    def forward(self, states: Tensor, causal: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """All steps: states `(N, T, dim)`; keys and values of the source; its mask."""
        normed = self.past_norm(states) if self.pre else states
        if isinstance(self.past, SSRU):
            looked_back = self.past(normed)
        else:
            looked_back = self.past(normed, *self.past.keys_values(normed), causal)
        return self._rest(states + looked_back, keys, values, mask)

    def step(
        self, states: Tensor, past: Sequence[Tensor], keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """One step: states `(N, 1, dim)`, and what the layer remembers; gives what it remembers next."""
        normed = self.past_norm(states) if self.pre else states
        if isinstance(self.past, SSRU):
            output, cell = self.past.step(normed[:, 0], past[0])
            looked_back, remembered = output.unsqueeze(1), [cell]
        else:
            new_keys, new_values = self.past.keys_values(normed)
            remembered = [torch.cat([past[0], new_keys], dim=2), torch.cat([past[1], new_values], dim=2)]
            looked_back = self.past(normed, *remembered)
        return self._rest(states + looked_back, keys, values, mask), remembered

    def first_past(self, rows: int) -> list[Tensor]:
        """The layer's memory before the first piece: zeros `(N, dim)`, or no keys and values at all."""
        zeros = self.past_norm.weight.new_zeros
        if isinstance(self.past, SSRU):
            return [zeros(rows, self.past.forget.out_features)]
        return [zeros(rows, self.past.num_heads, 0, self.past.head_dim) for _ in range(2)]

    def _rest(self, states: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        if self.pre:
            states = states + self.cross(self.cross_norm(states), keys, values, mask)
            return states + self.ffn(self.ffn_norm(states))
        states = self.past_norm(states)
        states = self.cross_norm(states + self.cross(states, keys, values, mask))
        return self.ffn_norm(states + self.ffn(states))


class Projection(nn.Module):
    """Logits of states by a matrix that it does not hold: the output layer, which most often is the embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.macs_per_output = dim

    def forward(self, states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States `(…, dim)`, weight `(pieces, dim)`, bias `(pieces,)` → `(…, pieces)`."""
        return F.linear(states, weight, bias)


class EncoderDecoder(nn.Module):
    """The whole network. `forward` trains, `encode` and `step` decode.

    Parameters that are one matrix by the config are one parameter here: each is stored once.
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = nn.Embedding(config.source_size, config.dim)
        self.target_embedding = None if config.tied == "all" else nn.Embedding(config.target_size, config.dim)
        self.output = None if config.tied != "none" else nn.Linear(config.dim, config.target_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(config.target_size))
        self.projection = Projection(config.dim)
        self.encoder = nn.ModuleList(EncoderLayer(config, number) for number in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config, number) for number in range(config.decoder_layers))
        on_top = config.norm == "pre"
        self.encoder_norm = nn.LayerNorm(config.dim, config.epsilon) if on_top else nn.Identity()
        self.decoder_norm = nn.LayerNorm(config.dim, config.epsilon) if on_top else nn.Identity()
        last = config.dim // 2 - (1 if config.timescales == "marian" else 0)
        steps = torch.arange(config.dim // 2, dtype=torch.float64) / last
        self.register_buffer("frequencies", (10000.0**-steps).float(), persistent=False)
        self.frequencies: Tensor
        self.scale = math.sqrt(config.dim) if config.scale_embedding else 1.0
        self._draw_weights()

    def _draw_weights(self) -> None:
        """Embeddings with standard deviation dim^−½, matrices as Glorot and Bengio 2010, biases 0."""
        for part in self.modules():
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=self.config.dim**-0.5)
            elif isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits `(N, T, pieces)` of each target piece, given the source and the target pieces before it."""
        states, mask = self.encode(source)
        embedded = F.embedding(target[:, :-1], self._target_weight) * self.scale
        previous = torch.cat([self._first(len(target)), embedded], dim=1)
        states_out = previous + self._positions(torch.arange(target.shape[1], device=target.device))
        causal = causal_mask(target.shape[1], target.device)
        for layer in self.decoder_layers:
            states_out = layer(states_out, causal, *layer.cross.keys_values(states), mask)
        return self._logits(states_out)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """States `(N, S, dim)` of the source, and the mask `(N, 1, 1, S)` that keeps padding out of attention."""
        mask = padding_mask(source, self.config.eos)
        states = self.source_embedding(source) * self.scale
        states = states + self._positions(torch.arange(source.shape[1], device=source.device))
        for layer in self.encoder:
            states = layer(states, mask)
        return self.encoder_norm(states), mask

    def source_keys_values(self, states: Tensor) -> list[Tensor]:
        """Keys and values `(N, heads, S, d)` of each decoder layer in turn: computed once per sentence."""
        return [part for layer in self.decoder_layers for part in layer.cross.keys_values(states)]

    def step(
        self, piece: Tensor, position: Tensor, mask: Tensor, keys_values: Sequence[Tensor], past: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits `(N, pieces)` of the next piece, and what the layers remember next.

        Args:
            piece: the previous piece, int64 `(N,)`; not looked at where `position` is 0.
            position: of the previous piece, that is, how many there are already, int64 `(N,)`.
            mask: of `encode`.
            keys_values: of `source_keys_values`.
            past: of the step before; at first `first_past`.
        """
        begun = (position > 0).to(mask.dtype).view(-1, 1, 1)
        embedded = F.embedding(piece, self._target_weight).unsqueeze(1) * self.scale
        states = begun * embedded + (1 - begun) * self._first(1) + self._positions(position).unsqueeze(1)
        per_layer = len(past) // len(self.decoder)
        remembered: list[Tensor] = []
        for number, layer in enumerate(self.decoder_layers):
            own = past[number * per_layer : (number + 1) * per_layer]
            states, new = layer.step(states, own, keys_values[2 * number], keys_values[2 * number + 1], mask)
            remembered += new
        return self._logits(states)[:, 0], remembered

    def first_past(self, rows: int) -> list[Tensor]:
        """The layers' memory before the first piece, layer by layer."""
        return [part for layer in self.decoder_layers for part in layer.first_past(rows)]

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        """The decoder's layers, bottom up."""
        return cast(list[DecoderLayer], list(self.decoder))

    @property
    def _target_weight(self) -> Tensor:
        return (self.source_embedding if self.target_embedding is None else self.target_embedding).weight

    def _first(self, rows: int) -> Tensor:
        if self.config.start is None:
            return self.output_bias.new_zeros(rows, 1, self.config.dim)
        return (self._target_weight[self.config.start] * self.scale).expand(rows, 1, -1)

    def _positions(self, numbers: Tensor) -> Tensor:
        angles = numbers.to(self.frequencies.dtype).unsqueeze(-1) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _logits(self, states: Tensor) -> Tensor:
        weight = self._target_weight if self.output is None else self.output.weight
        return self.projection(self.decoder_norm(states), weight, self.output_bias)


def padding_mask(source: Tensor, eos: int) -> Tensor:
    """Float `(N, 1, 1, S)`: `MASKED` after the first eos of each row, else 0."""
    ended = (source == eos).to(torch.float32)
    after = (ended.cumsum(dim=1) - ended).clamp(max=1)
    return (after * MASKED)[:, None, None, :]
