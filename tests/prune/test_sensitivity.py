"""Losses of a network without channels, against networks from which they were cut."""

import copy

import pytest
import torch

from components.core.models.architecture import apply_surgery
from components.core.pruning.groups import PruningGraph
from components.core.pruning.member import cuts_of
from components.core.training.data import calibration_batches
from components.prune.sensitivity import (
    FEWEST_IMAGES,
    TRIAL_IMAGES,
    Trial,
    at_each_step,
    loss_increases,
    measured_steps,
    steps_of,
    trial_rows,
)


def world(make_bundle, dataset, source):
    bundle = make_bundle(source)
    groups = PruningGraph(
        bundle.module, inputs=bundle.inputs, output_layers=bundle.task.output_layers(bundle.module)
    ).groups()
    scores = {group.name: torch.rand(group.channels) for group in groups}
    batches = list(calibration_batches(bundle.task, dataset, bundle.assets, rows=64, batch_size=32))
    return bundle, groups, scores, batches


@pytest.mark.parametrize("source", ["timm:test_efficientnet", "torchvision:resnet18"])
def test_a_channel_that_is_not_read_is_as_good_as_cut(make_bundle, dataset, source):
    bundle, groups, scores, batches = world(make_bundle, dataset, source)
    before = copy.deepcopy(bundle.module.state_dict())
    trial = Trial(bundle.module, groups, scores, batches, bundle.task)
    for group in (groups[0], groups[-1]):
        removed = {groups[1].name: 8, group.name: group.channels // 2}
        cut = copy.deepcopy(bundle.module)
        lowest = {name: scores[name].argsort()[:gone].tolist() for name, gone in removed.items()}
        apply_surgery(cut, cuts_of(cut, groups, lowest))
        whole = copy.deepcopy(bundle.module)
        for part in [*cut.modules(), *whole.modules()]:
            if isinstance(part, torch.nn.BatchNorm2d):
                part.train()  # the batch's own statistics
        divergence = 0.0
        with torch.no_grad():
            for batch in batches:
                p, q = (one(batch.inputs["images"]).softmax(1) for one in (whole, cut))
                divergence += float((p * (p / q).log()).sum()) / 64
        assert divergence > 1e-6
        assert trial.loss(removed) == pytest.approx(divergence, rel=1e-2)
    for name, values in bundle.module.state_dict().items():
        assert torch.equal(values, before[name]), name


def test_increases_are_of_one_group_and_the_others_stay_as_they_are(make_bundle, dataset):
    bundle, groups, scores, batches = world(make_bundle, dataset, "timm:test_efficientnet")
    trial = Trial(bundle.module, groups, scores, batches, bundle.task)
    around = {groups[0].name: 8, groups[1].name: 16}
    curves = loss_increases(trial, groups, round_to=8, around=around)
    assert list(curves) == [group.name for group in groups]
    for name, curve in curves.items():
        assert curve[0] == 0
        assert around.get(name, 0) in curve
        for gone, increase in curve.items():
            expected = trial.loss(around | {name: gone}) - trial.loss(around | {name: 0})
            assert increase == pytest.approx(expected, abs=1e-9)


def test_a_few_widths_are_measured_and_the_least_that_may_stay_is_one():
    steps = steps_of(240, round_to=16)
    measured = measured_steps(240, round_to=16)
    assert measured[0] == 0
    assert measured[-1] == steps[-1]
    assert set(measured) <= set(steps)
    assert len(measured) == 6
    assert measured_steps(24, round_to=16) == [0, 8]
    assert measured_steps(16, round_to=16) == [0]


def test_between_measured_widths_a_curve_is_linear_and_it_never_falls():
    curve = {0: 0.0, 10: -0.3, 20: 0.5, 40: 0.2, 60: 1.7}
    assert at_each_step(curve, [0, 10, 15, 20, 30, 40, 50, 60]) == pytest.approx(
        {0: 0.0, 10: 0.0, 15: 0.25, 20: 0.5, 30: 0.5, 40: 0.5, 50: 1.1, 60: 1.7}
    )


def test_a_large_network_is_tried_on_fewer_images():
    assert trial_rows(31_000_000, 33, rounds=2) == TRIAL_IMAGES
    # 10 TMACs over 2 · (50 · 5 + 1) trials of 1 GMAC an image.
    assert trial_rows(10**9, 50, rounds=2) == 19
    assert trial_rows(10**12, 50, rounds=2) == FEWEST_IMAGES
