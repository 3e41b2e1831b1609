"""The two ONNX graphs of a network: the encoder, and one step of the decoder over flat state tensors.

The step is given everything as plain tensors: a mask, keys and values of the source per layer, and what each layer
remembers. Caches that are objects break exporters; the sizes of all tensors are named here, once.
"""

from torch import Tensor, nn

from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.tasks.translation.assets import TYPICAL_LENGTH
from components.core.tasks.translation.networks import EncoderDecoder

ENCODER, STEP = "encoder", "step"
SOURCE, PIECE, POSITION, MASK, LOGITS = "source", "piece", "position", "mask", "logits"
LENGTH, PAST = "length", "past"
_TYPICAL_PAST, _POSITIONS = 11, 256

Shapes = dict[str, tuple[int | str, ...]]
"""Shapes of tensors by name, with names for free sizes."""


class EncoderGraph(nn.Module):
    """Source `(N, S)` → mask, then keys and values of each decoder layer."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        states, mask = self.network.encode(source)
        return (mask, *self.network.source_keys_values(states))


class StepGraph(nn.Module):
    """Piece, position, mask, keys and values, past → logits, next past."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, piece: Tensor, position: Tensor, mask: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        fixed = 2 * len(self.network.decoder)
        logits, past = self.network.step(piece, position, mask, states[:fixed], states[fixed:])
        return (logits, *past)


def graphs(network: EncoderDecoder) -> dict[str, Graph]:
    """Both graphs, with the names and shapes of their inputs and outputs."""
    config = network.config
    free = ((LENGTH, TYPICAL_LENGTH), (PAST, _TYPICAL_PAST))
    mask: tuple[int | str, ...] = (BATCH, 1, 1, LENGTH)
    fixed: Shapes = {
        f"{kind}_{number}": (BATCH, layer.cross.num_heads, LENGTH, layer.cross.head_dim)
        for number, layer in enumerate(network.decoder_layers)
        for kind in ("key", "value")
    }
    past = _past_shapes(network)
    numbers = (
        InputSpec(name=PIECE, dtype="int64", shape=(BATCH,), high=config.target_size),
        InputSpec(name=POSITION, dtype="int64", shape=(BATCH,), high=_POSITIONS),
    )
    states = {MASK: mask, **fixed, **past}
    longer = {name: tuple(f"{PAST} + 1" if size == PAST else size for size in shape) for name, shape in past.items()}
    return {
        ENCODER: Graph(
            module=EncoderGraph(network),
            inputs=(InputSpec(name=SOURCE, dtype="int64", shape=(BATCH, LENGTH), high=config.source_size),),
            outputs=tuple(OutputSpec(name=name, shape=shape) for name, shape in {MASK: mask, **fixed}.items()),
            free=free,
        ),
        STEP: Graph(
            module=StepGraph(network),
            inputs=(*numbers, *(InputSpec(name=n, dtype="float32", shape=shape) for n, shape in states.items())),
            outputs=(
                OutputSpec(name=LOGITS, shape=(BATCH, config.target_size)),
                *(OutputSpec(name=f"next_{name}", shape=shape) for name, shape in longer.items()),
            ),
            free=free,
            calls=TYPICAL_LENGTH,
        ),
    }


def _past_shapes(network: EncoderDecoder) -> Shapes:
    """Of what each decoder layer remembers: a cell, or keys and values that grow."""
    kinds = ("cell",) if network.config.decoder_cell == "ssru" else ("past_key", "past_value")
    names = [f"{kind}_{number}" for number in range(len(network.decoder)) for kind in kinds]
    shapes = (tuple(part.shape) for part in network.first_past(1))
    return {
        name: (BATCH, *(PAST if size == 0 else size for size in shape[1:]))
        for name, shape in zip(names, shapes, strict=True)
    }
