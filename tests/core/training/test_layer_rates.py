"""How fast each layer learns: gradual unfreezing and relative gradient norms, against references written out here."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from components.core.models.zoo import create_module
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.training.checkpoint import Checkpointer
from components.core.training.device import deterministic
from components.core.training.layer_rates import (
    auto_rgn_factors,
    gradual_factors,
    layer_labels,
    relative_gradient_norms,
)
from components.core.training.loop import train
from components.core.training.parameter_groups import parameter_groups

CPU = torch.device("cpu")


class Three(nn.Module):
    """Two convolutions that learn from different gradients, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        return self.head(self.second(self.first(images).relu()).relu().mean(dim=(2, 3)))


def three():
    torch.manual_seed(0)
    net = Three()
    with torch.no_grad():
        net.first.weight.mul_(3.0)
    return net


def run(tiny, checkpointer=None, step_loss=None, net=None, **changes):
    net = net or tiny.net()
    with deterministic(0):
        history = train(
            net, data=tiny.data(), task=get_task("classification"), num_classes=3, device=CPU,
            step_loss=step_loss or tiny.step_loss,
            config=tiny.config(**{"ema_decay": 0.0, "batch_norm": "frozen"} | changes),
            checkpointer=checkpointer, report=lambda _: None,
        )  # fmt: skip
    return net, history


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_layers_join_from_the_head_down_and_all_learn_from_half_of_the_epochs_on():
    learning = [sorted(d for d, f in gradual_factors(range(6), epoch=e, epochs=8).items() if f) for e in range(8)]
    assert learning[:4] == [[4, 5], [3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert all(layers == [0, 1, 2, 3, 4, 5] for layers in learning[4:])
    assert gradual_factors(range(6), epoch=0, epochs=1) == dict.fromkeys(range(6), 1.0)


def test_the_relative_norm_of_a_layer_is_over_all_of_its_parameters():
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    module(torch.tensor([[1.0, -2.0, 0.5]])).square().sum().backward()
    groups = parameter_groups(module, weight_decay=0.1, by_layer=True)
    expected = {}
    for depth, layer in enumerate(module):
        squared = {"weight": 0.0, "gradient": 0.0}
        for parameter in layer.parameters():
            for value, slope in zip(parameter.flatten().tolist(), parameter.grad.flatten().tolist(), strict=True):
                squared["weight"] += value**2
                squared["gradient"] += slope**2
        expected[depth] = math.sqrt(squared["gradient"]) / math.sqrt(squared["weight"])
    assert relative_gradient_norms(groups) == pytest.approx(expected)


def test_factors_are_means_over_batches_of_which_the_largest_is_one():
    expected = pytest.approx({0: 0.25, 1: 1.0, 2: 1.0})
    assert auto_rgn_factors([{0: 1.0, 1: 4.0, 2: 90.0}, {0: 3.0, 1: 12.0, 2: 0.1}]) == expected
    assert auto_rgn_factors([{0: 1.0, 1: 4.0, 2: 9.0}, {0: math.inf, 1: 12.0, 2: 9.0}]) == expected
    assert auto_rgn_factors([{0: math.nan, 1: 1.0, 2: 1.0}]) == {0: 1.0, 1: 1.0, 2: 1.0}
    assert auto_rgn_factors([{0: 0.0, 1: 0.0}]) == {0: 1.0, 1: 1.0}
    assert auto_rgn_factors([{0: 5.0}]) == {0: 1.0}


def test_zero_weights_have_no_relative_norm():
    module = nn.Linear(2, 1)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    module(torch.ones(1, 2)).sum().backward()
    assert relative_gradient_norms(parameter_groups(module, weight_decay=0.0, by_layer=True)) == {0: 0.0}


def test_layers_are_named_as_a_person_finds_them():
    labels = layer_labels(create_module("torchvision:resnet18", 10))
    assert list(labels.values())[:2] == ["conv1", "layer1.0"]
    assert list(labels.values())[-1] == "fc"
    assert len(labels) == 10


def test_a_frozen_layer_does_not_move_and_the_others_do(tiny):
    before, seen = tiny.net(), []

    def step_loss(model, batch):
        seen.append(model.stem[0].weight.detach().clone())
        return tiny.step_loss(model, batch)

    assert run(tiny, epochs=1)[1].layer_rates == []
    after, history = run(tiny, epochs=4, layer_rates="gradual", learning_rate=0.05, step_loss=step_loss)
    assert [one["factors"] for one in history.layer_rates] == [
        {"stem.0": 0.0, "head": 1.0}, *[{"stem.0": 1.0, "head": 1.0}] * 3,
    ]  # fmt: skip
    # Four steps an epoch: the stem stands still until the second epoch's first step has been taken.
    assert all(torch.equal(one, before.stem[0].weight) for one in seen[:5])
    assert not torch.equal(seen[5], before.stem[0].weight)
    assert not torch.equal(after.head.weight, before.head.weight)
    assert all(parameter.requires_grad for parameter in after.parameters())


def test_auto_rgn_takes_the_steps_that_the_formula_gives(tiny):
    """One epoch of SGD without momentum, by hand: the factors from the first batches, then a step for each batch."""
    net, history = run(
        tiny, epochs=1, layer_rates="auto_rgn", optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant",
        warmup_fraction=0.0, learning_rate=0.1, layer_decay=0.5, net=three(),
    )  # fmt: skip
    by_hand = three()
    layers = {name: list(layer.parameters()) for name, layer in by_hand.named_children()}
    with deterministic(0):
        by_hand.train()
        ratios = {name: [] for name in layers}
        for batch in tiny.batches(64, 16, seed=0):
            by_hand.zero_grad()
            (tiny.step_loss(by_hand, batch) / 16).backward()
            for name, parameters in layers.items():
                gradient = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters))
                ratios[name].append(gradient / math.sqrt(sum(float(p.detach().square().sum()) for p in parameters)))
        means = {name: sum(values) / len(values) for name, values in ratios.items()}
        largest = max(means["first"], means["second"])
        factors = {"first": means["first"] / largest, "second": means["second"] / largest, "head": 1.0}
        for batch in tiny.batches(64, 16, seed=0):
            by_hand.zero_grad()
            (tiny.step_loss(by_hand, batch) / 16).backward()
            with torch.no_grad():
                for name, parameters in layers.items():
                    for parameter in parameters:
                        parameter -= 0.1 * factors[name] * parameter.grad
    assert min(factors.values()) < 0.9
    assert history.layer_rates == [{"epoch": 1, "factors": pytest.approx(factors, rel=1e-5)}]
    torch.testing.assert_close(weights(net), weights(by_hand), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer_rates", ["gradual", "auto_rgn"])
@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_killed_run_ends_as_an_undisturbed_one(tiny, tmp_path, layer_rates, step):
    class InterruptedRunError(Exception):
        pass

    class StopAfter(Checkpointer):
        calls = 0

        def is_due(self):
            self.calls += 1
            if self.calls == step + 1:
                raise InterruptedRunError
            return self.calls == step

    store, key = open_store(str(tmp_path / "store")), "a" * 64
    whole, history = run(tiny, epochs=4, layer_rates=layer_rates, ema_decay=0.9)
    with pytest.raises(InterruptedRunError):
        run(tiny, epochs=4, layer_rates=layer_rates, ema_decay=0.9, checkpointer=StopAfter(store, key, seconds=0))
    resumed, again = run(
        tiny, epochs=4, layer_rates=layer_rates, ema_decay=0.9, checkpointer=Checkpointer(store, key, seconds=3600)
    )
    assert torch.equal(weights(resumed), weights(whole))
    assert again.to_json() == history.to_json()


def test_a_gradient_above_the_norm_is_scaled_down_to_it(tiny):
    """At rate 1 plain gradient descent moves by the gradient, so its length is that of the step."""

    def lengths(**changes):
        seen = []

        def step_loss(model, batch):
            seen.append(weights(model))
            return tiny.step_loss(model, batch)

        net, _ = run(
            tiny, epochs=1, optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", warmup_fraction=0.0,
            learning_rate=1.0, layer_decay=1.0, step_loss=step_loss, **changes,
        )  # fmt: skip
        return [float((after - before).norm()) for before, after in pairwise([*seen, weights(net)])]

    free = lengths()
    assert min(free) > 0.02
    assert lengths(max_gradient_norm=0.01) == pytest.approx([0.01] * 4, rel=1e-3)
    assert lengths(max_gradient_norm=1e6) == free
    # Two parts of a batch are one gradient, clipped once.
    assert lengths(max_gradient_norm=0.01, accumulation_steps=2) == pytest.approx([0.0, 0.01] * 4, rel=1e-3)


def test_float16_learns_with_a_scaled_loss_and_resumes_with_its_scale(tiny, tmp_path):
    store, key = open_store(str(tmp_path / "store")), "b" * 64
    scales = []

    class Watched(Checkpointer):
        def save(self, state):
            super().save(state)
            scales.append(state.progress.scaler["scale"])

    net, history = run(tiny, epochs=2, precision="float16", checkpointer=Watched(store, key, seconds=0))
    assert torch.isfinite(weights(net)).all()
    assert history.epochs[-1]["validation_loss"] < history.epochs[0]["validation_loss"]
    assert scales[0] > 1
    full, _ = run(tiny, epochs=2, precision="float32")
    torch.testing.assert_close(weights(net), weights(full), rtol=0.1, atol=0.05)
