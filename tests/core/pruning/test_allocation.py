"""The integer programme against all choices there are, on networks small enough to try them all."""

from itertools import product

import numpy as np
import pytest

from components.core.pruning.allocation import Limit, OutOfReachError, allocate
from components.core.pruning.plan import LayerCost, Part

COUNTS = {"a": [0, 4, 8], "b": [0, 8, 16, 24], "c": [0, 2, 4], "d": [0, 5]}
"""Channels that may be removed, of 12, 32, 6 and 10."""


def layer(name, inputs, outputs, *, pairs, depthwise=False):
    """A layer between groups: name → channels."""
    return LayerCost(
        name=name,
        pairs=pairs,
        in_channels=sum(inputs.values()) or 3,
        out_channels=sum(outputs.values()) or 5,
        depthwise=depthwise,
        in_groups=dict.fromkeys(inputs, 1),
        out_groups=dict.fromkeys(outputs, 1),
    )


LAYERS = [
    layer("stem", {}, {"a": 12}, pairs=90),
    layer("one", {"a": 12}, {"b": 32}, pairs=10),
    layer("spread", {}, {"b": 32}, pairs=40, depthwise=True),
    layer("both", {"a": 12, "b": 32}, {"c": 6}, pairs=7),  # reads two groups side by side: three in one layer
    layer("two", {"c": 6}, {"d": 10}, pairs=25),
    layer("head", {"d": 10}, {}, pairs=3),
]


def macs(layers=LAYERS):
    return [Part(groups=one.groups, cost=one.macs) for one in layers]


def weights(layers=LAYERS):
    """Each layer's cost without its positions: another unit in which to be limited."""
    return [Part(groups=one.groups, cost=lambda gone, one=one: one.macs(gone) / one.pairs) for one in layers]


def made_up_losses(seed):
    """Rising with what is removed, by chance."""
    draw = np.random.default_rng(seed)
    return {
        name: dict(zip(counts, [0.0, *np.cumsum(draw.exponential(size=len(counts) - 1)).tolist()], strict=True))
        for name, counts in COUNTS.items()
    }


def every_choice():
    return [dict(zip(COUNTS, counts, strict=True)) for counts in product(*COUNTS.values())]


def lost(losses, removed):
    return sum(losses[name][gone] for name, gone in removed.items())


def least_of_all(losses, limits):
    return min(lost(losses, one) for one in every_choice() if all(limit.cost(one) <= limit.most for limit in limits))


@pytest.mark.parametrize("seed", range(8))
def test_no_choice_within_the_limit_loses_less(seed):
    losses = made_up_losses(seed)
    whole = Limit(parts=macs(), most=0).cost({})
    for fraction in (0.95, 0.7, 0.5, 0.35):
        limit = Limit(parts=macs(), most=fraction * whole)
        found = allocate(losses, [limit])
        assert limit.cost(found.removed) <= limit.most
        assert found.loss == pytest.approx(lost(losses, found.removed))
        assert found.loss == pytest.approx(least_of_all(losses, [limit]), abs=1e-5)
        assert found.gap == 0


@pytest.mark.parametrize("seed", range(4))
def test_times_that_follow_no_product_are_weighed_as_they_are(seed):
    draw = np.random.default_rng(seed)

    def timed(one):
        steps = np.sort(draw.uniform(0, 100, size=8))
        at = np.linspace(0, one.macs({}), 8)
        return Part(groups=one.groups, cost=lambda gone: float(np.interp(one.macs(gone), at, steps)))

    losses = made_up_losses(seed)
    parts = [timed(one) for one in LAYERS if one.name != "both"]
    limit = Limit(parts=parts, most=0.7 * Limit(parts=parts, most=0).cost({}))
    found = allocate(losses, [limit])
    assert limit.cost(found.removed) <= limit.most
    assert found.loss == pytest.approx(least_of_all(losses, [limit]), abs=1e-5)


def test_a_second_limit_holds_as_well():
    losses = made_up_losses(0)
    limits = [Limit(parts=macs(), most=0.6 * Limit(parts=macs(), most=0).cost({}))]
    alone = allocate(losses, limits)
    size = Limit(parts=weights(), most=Limit(parts=weights(), most=0).cost(alone.removed) - 1)
    found = allocate(losses, [*limits, size])
    assert size.cost(found.removed) <= size.most
    assert found.loss == pytest.approx(least_of_all(losses, [*limits, size]), abs=1e-5)
    assert found.loss > alone.loss


def test_a_limit_is_met_to_the_last_unit_and_not_passed_by_one():
    costs = sorted({Limit(parts=macs(), most=0).cost(one) for one in every_choice()})
    losses = {name: {gone: float(gone) for gone in counts} for name, counts in COUNTS.items()}
    for cost in costs[:: len(costs) // 12]:
        exactly, below = (Limit(parts=macs(), most=most) for most in (cost, cost - 1e-3))
        assert allocate(losses, [exactly]).loss == pytest.approx(least_of_all(losses, [exactly]), abs=1e-5)
        if cost > costs[0]:
            assert below.cost(allocate(losses, [below]).removed) <= below.most


def test_a_limit_holds_where_three_groups_share_a_part():
    tied = [Part(groups=("a", "b", "c"), cost=lambda gone: 100.0 if len({*filter(None, gone.values())}) < 3 else 50.0)]
    parts = [*macs(), *tied]
    limit = Limit(parts=parts, most=0.5 * Limit(parts=parts, most=0).cost({}))
    assert limit.cost(allocate(made_up_losses(1), [limit]).removed) <= limit.most


def test_what_cannot_be_reached_is_refused_with_what_can():
    least = min(Limit(parts=macs(), most=0).cost(one) for one in every_choice())
    with pytest.raises(OutOfReachError, match=f"costs at most 10; the least there is costs {least:g}") as refused:
        allocate(made_up_losses(0), [Limit(parts=macs(), most=10)])
    assert refused.value.least == (least,)
