"""The rules that a plan keeps for any scores and sizes."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.pruning.plan import LayerCost, block_sizes, macs_per_channel, plan_removal, total_macs


def chain(widths):
    """Convolutions 1×1 on 10 positions: each reads the group before it and makes its own; the last makes 5 outputs."""
    names = [f"g{number}" for number in range(len(widths))]
    layers = []
    for number in range(len(widths) + 1):
        layers.append(
            LayerCost(
                name=f"layer{number}",
                pairs=10,
                in_channels=widths[number - 1] if number else 3,
                out_channels=widths[number] if number < len(widths) else 5,
                depthwise=False,
                in_groups={names[number - 1]: 1} if number else {},
                out_groups={names[number]: 1} if number < len(widths) else {},
            )
        )
    return names, layers


def test_costs_of_plain_and_depthwise_layers_follow_their_channels():
    plain = LayerCost(
        name="a", pairs=7, in_channels=10, out_channels=20, depthwise=False, in_groups={"x": 2}, out_groups={"y": 1}
    )
    depthwise = LayerCost(
        name="b", pairs=9, in_channels=20, out_channels=20, depthwise=True, in_groups={}, out_groups={"y": 1}
    )
    assert plain.macs({}) == 7 * 10 * 20
    assert plain.macs({"x": 3, "y": 5}) == 7 * 4 * 15  # each channel of x is two of the layer's inputs
    assert depthwise.macs({"y": 5}) == 9 * 15
    assert macs_per_channel([plain, depthwise], "y") == 7 * 10 + 9


@pytest.mark.parametrize(
    ("channels", "round_to", "max_ratio", "expected"),
    [
        (32, 8, 0.5, [8, 8]),
        (30, 8, 0.5, [6, 8]),  # the first cut takes what stands over a multiple
        (30, 8, 1.0, [6, 8, 8]),  # one multiple stays
        (8, 8, 0.9, []),
        (5, 8, 0.9, []),
        (4, 1, 0.5, [1, 1]),
    ],
)
def test_cuts_leave_multiples_and_never_too_little(channels, round_to, max_ratio, expected):
    assert block_sizes(channels, round_to=round_to, max_ratio=max_ratio) == expected


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(4, 40), min_size=1, max_size=4),
    round_to=st.sampled_from([1, 4, 8]),
    fraction=st.floats(0.1, 1.0),
    max_ratio=st.floats(0.1, 0.9),
    seed=st.integers(0, 1000),
)
def test_every_plan_meets_its_target_or_is_at_its_limits(widths, round_to, fraction, max_ratio, seed):
    names, layers = chain(widths)
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(width, generator=generator) for name, width in zip(names, widths, strict=True)}
    target = fraction * total_macs(layers, {})
    removal = plan_removal(scores, partial(total_macs, layers), target=target, round_to=round_to, max_ratio=max_ratio)

    at_limit = True
    for name, width in zip(names, widths, strict=True):
        gone = removal[name]
        kept = width - len(gone)
        assert gone == sorted(set(gone))
        assert not gone or kept % round_to == 0
        assert not gone or kept >= max(round_to, width * (1 - max_ratio))
        stays = [float(scores[name][channel]) for channel in range(width) if channel not in gone]
        assert not gone or max(float(scores[name][channel]) for channel in gone) <= min(stays)
        at_limit = at_limit and len(gone) == sum(block_sizes(width, round_to=round_to, max_ratio=max_ratio))
    macs = total_macs(layers, {name: len(gone) for name, gone in removal.items()})
    assert macs <= target or at_limit


def test_the_least_important_block_of_all_groups_goes_first_and_no_more_than_needed():
    _, layers = chain([16, 16])
    scores = {"g0": torch.full((16,), 2.0), "g1": torch.full((16,), 3.0)}
    scores["g1"][8:] = 1.0
    target = total_macs(layers, {"g1": 8})
    removal = plan_removal(scores, partial(total_macs, layers), target=target, round_to=8, max_ratio=0.5)
    assert removal == {"g0": [], "g1": list(range(8, 16))}


def test_no_target_below_the_whole_removes_nothing():
    _, layers = chain([16])
    scores = {"g0": torch.rand(16)}
    removal = plan_removal(
        scores, partial(total_macs, layers), target=total_macs(layers, {}), round_to=8, max_ratio=0.5
    )
    assert removal == {"g0": []}


def test_what_a_last_large_block_made_needless_is_given_back():
    cheap = LayerCost(
        name="cheap", pairs=1, in_channels=1, out_channels=16, depthwise=False, in_groups={}, out_groups={"small": 1}
    )
    dear = LayerCost(
        name="dear", pairs=100, in_channels=1, out_channels=16, depthwise=False, in_groups={}, out_groups={"large": 1}
    )
    scores = {"small": torch.full((16,), 1.0), "large": torch.full((16,), 2.0)}
    removal = plan_removal(scores, partial(total_macs, [cheap, dear]), target=900, round_to=8, max_ratio=0.5)
    assert {name: len(gone) for name, gone in removal.items()} == {"small": 0, "large": 8}
