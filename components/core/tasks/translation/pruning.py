"""Structured pruning of an encoder-decoder: attention heads, neurons of the feed-forward layers, whole layers.

Importance is first order (Molchanov et al. 2019, arXiv:1906.10771; of heads: Michel et al. 2019, arXiv:1905.10650): how
much the loss changes when a unit's contribution to the residual stream goes. A unit enters the stream through its
columns of one matrix, so the change is the signed sum of weight times gradient over these columns. What was removed is
in the config (`encoder_heads`, `decoder_widths`, …): the network is rebuilt from it and loads its weights strictly.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from components.core.tasks.translation.networks import EncoderDecoder

KeptUnits = Mapping[str, Sequence[int]]
"""Kind and layer ("encoder_heads.0") → the units that stay, ascending."""

HEADS, WIDTHS = ("encoder_heads", "past_heads", "cross_heads"), ("encoder_widths", "decoder_widths")
_PARTS = {
    "encoder_heads": ("encoder", "attention"), "past_heads": ("decoder", "past"), "cross_heads": ("decoder", "cross"),
    "encoder_widths": ("encoder", "ffn"), "decoder_widths": ("decoder", "ffn"),
}  # fmt: skip


def units(network: EncoderDecoder) -> dict[str, int]:
    """Kind and layer → how many heads or neurons there are."""
    config = network.config
    kinds = [kind for kind in _PARTS if kind != "past_heads" or config.decoder_cell == "attention"]
    return {f"{kind}.{number}": count for kind in kinds for number, count in enumerate(config.sizes(kind))}


def taylor_importance(
    network: EncoderDecoder, batches: Iterable[Any], loss: Callable[[EncoderDecoder, Any], Tensor]
) -> dict[str, Tensor]:
    """Kind and layer → root mean square over batches of `|Σ w·∂L/∂w|` of each unit, `(units,)` ≥ 0.

    Args:
        network: in eval mode; its gradients are overwritten and cleared.
        batches: of training data; small ones, since the signed sum of a large one vanishes at the minimum.
        loss: mean loss of a batch.

    Raises:
        ValueError: there is no batch.
    """
    squares = {name: torch.zeros(count) for name, count in units(network).items()}
    count = 0
    for batch in batches:
        network.zero_grad(set_to_none=True)
        loss(network, batch).backward()
        for name, total in squares.items():
            weight = _outgoing(network, name)
            assert weight.grad is not None
            changes = (weight.detach() * weight.grad).sum(dim=0)
            total += changes.view(len(total), -1).sum(dim=1).square().cpu()
        count += 1
    network.zero_grad(set_to_none=True)
    if not count:
        raise ValueError("importance needs at least one batch")
    return {name: (total / count).sqrt() for name, total in squares.items()}


def choose_units(scores: Mapping[str, Tensor], *, fraction: float, round_to: int = 1) -> dict[str, list[int]]:
    """Which units stay, so that about `fraction` of them do; ranked over all layers together.

    Units go in blocks of `round_to` per layer, the least important block of all first; a layer keeps at least one.

    Args:
        scores: kind and layer → importance `(units,)` of units that cost about the same.
        fraction: in (0, 1].
        round_to: counts that are left are multiples of it, where the layer's own is one.

    Raises:
        ValueError: fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction to keep must be in (0, 1], got {fraction}")
    total = sum(len(values) for values in scores.values())
    blocks = []
    for name, values in scores.items():
        order = values.argsort(stable=True).tolist()
        # The first block takes what is more than a multiple; the last one stays.
        sizes = [len(order) % round_to] * (len(order) % round_to > 0) + [round_to] * (len(order) // round_to)
        start = 0
        for size in sizes[:-1]:
            block = order[start : start + size]
            blocks.append((float(values[block].sum()) / size, name, block))
            start += size
    removed: dict[str, set[int]] = {name: set() for name in scores}
    left = total
    # Within a layer the means ascend, so that a sorted list never takes a block before the one below it.
    for _, name, block in sorted(blocks, key=lambda entry: entry[0]):
        if left - len(block) < round(fraction * total):
            break
        removed[name].update(block)
        left -= len(block)
    return {name: [n for n in range(len(values)) if n not in removed[name]] for name, values in scores.items()}


def prune_units(network: EncoderDecoder, kept: KeptUnits) -> EncoderDecoder:
    """A smaller network with the kept units of each layer that `kept` names; the one given is left alone.

    It computes what the network computes when the other units' columns of the matrix behind them are zero.

    Raises:
        ValueError: an unknown layer, no unit left, or one that is not there.
    """
    present = units(network)
    for name, chosen in kept.items():
        if name not in present:
            raise ValueError(f"unknown layer {name!r}; known: {', '.join(present)}")
        if not chosen or sorted(set(chosen)) != list(chosen) or chosen[-1] >= present[name] or chosen[0] < 0:
            raise ValueError(f"{name}: units to keep must be ascending numbers below {present[name]}, at least one")
    sizes: dict[str, list[int]] = {}
    for name, count in present.items():
        sizes.setdefault(name.split(".")[0], []).append(len(kept[name]) if name in kept else count)
    counted: dict[str, Any] = {kind: tuple(counts) for kind, counts in sizes.items()}
    pruned = EncoderDecoder(replace(network.config, **counted))
    state = dict(network.state_dict())
    for name, chosen in kept.items():
        kind, number = name.split(".")
        stack, part = _PARTS[kind]
        prefix = f"{stack}.{number}.{part}"
        incoming = ("expand",) if part == "ffn" else ("query", "key", "value")
        outgoing = "contract" if part == "ffn" else "output"
        rows = _rows(chosen, 1 if part == "ffn" else network.config.head_dim)
        for layer in incoming:
            for entry in ("weight", "bias"):
                state[f"{prefix}.{layer}.{entry}"] = state[f"{prefix}.{layer}.{entry}"][rows]
        state[f"{prefix}.{outgoing}.weight"] = state[f"{prefix}.{outgoing}.weight"][:, rows]
    pruned.load_state_dict(state)
    return pruned.to(network.output_bias.device).train(network.training)


def keep_layers(network: EncoderDecoder, *, encoder: Sequence[int], decoder: Sequence[int]) -> EncoderDecoder:
    """A network of the layers that are named, in their order; the one given is left alone.

    Raises:
        ValueError: no layer left of a stack, or one that is not there.
    """
    config = network.config
    for name, chosen, count in (
        ("encoder", encoder, config.encoder_layers), ("decoder", decoder, config.decoder_layers)
    ):  # fmt: skip
        if not chosen or sorted(set(chosen)) != list(chosen) or chosen[0] < 0 or chosen[-1] >= count:
            raise ValueError(f"{name} layers to keep must be ascending numbers below {count}, at least one")
    stacks = {"encoder": list(encoder), "decoder": list(decoder)}
    sizes: dict[str, Any] = {
        kind: tuple(config.sizes(kind)[number] for number in stacks[stack])
        for kind, (stack, _) in _PARTS.items()
        if getattr(config, kind)
    }
    smaller = EncoderDecoder(replace(config, encoder_layers=len(encoder), decoder_layers=len(decoder), **sizes))
    state = {}
    for name, values in network.state_dict().items():
        stack, _, rest = name.partition(".")
        if stack in stacks:
            number, _, rest = rest.partition(".")
            if int(number) not in stacks[stack]:
                continue
            name = f"{stack}.{stacks[stack].index(int(number))}.{rest}"
        state[name] = values
    smaller.load_state_dict(state)
    return smaller.to(network.output_bias.device).train(network.training)


@torch.no_grad()
def drop_layers(
    network: EncoderDecoder, loss: Callable[[EncoderDecoder], float], *, encoder: int, decoder: int
) -> EncoderDecoder:
    """The network with so many layers of each stack: at each step the layer goes without which the loss is least.

    Args:
        network: left alone.
        loss: measures a network; on data that is no test data.
        encoder, decoder: layers to keep; a stack that has no more than these keeps its own.

    Raises:
        ValueError: fewer than one layer to keep.
    """
    if encoder < 1 or decoder < 1:
        raise ValueError(f"at least 1 layer of each stack must stay, got {encoder} and {decoder}")
    while True:
        counts = {"encoder": network.config.encoder_layers, "decoder": network.config.decoder_layers}
        wanted = {"encoder": encoder, "decoder": decoder}
        trials = []
        for stack in counts:
            for gone in range(counts[stack]) if counts[stack] > wanted[stack] else ():
                stacks = {name: list(range(count)) for name, count in counts.items()}
                stacks[stack].remove(gone)
                candidate = keep_layers(network, encoder=stacks["encoder"], decoder=stacks["decoder"])
                trials.append((loss(candidate), candidate))
        if not trials:
            return network
        network = min(trials, key=lambda trial: trial[0])[1]


def _outgoing(network: EncoderDecoder, name: str) -> Tensor:
    """The weight `(dim, units · width)` through which a layer's units enter the residual stream."""
    kind, number = name.split(".")
    stack, part = _PARTS[kind]
    layers: nn.ModuleList = getattr(network, stack)
    module: Any = getattr(layers[int(number)], part)
    weight: Tensor = (module.contract if part == "ffn" else module.output).weight
    return weight


def _rows(chosen: Sequence[int], width: int) -> Tensor:
    return torch.tensor([unit * width + offset for unit in chosen for offset in range(width)])
