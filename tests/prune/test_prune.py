"""The prune stage, from artifacts to artifacts."""

import copy
from pathlib import Path

import pytest
import torch

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.errors import UserError
from components.core.models.complexity import count_macs
from components.core.pruning.groups import PruningGraph
from components.core.training.batchnorm import recalibrate_batchnorm
from components.core.training.data import calibration_batches
from components.prune.component import prune
from components.prune.config import PruneConfig
from components.prune.pruning import prune_bundle, taylor_importance

SETTINGS = {"recipe": {"name": "r", "macs_fraction": 0.7}, "calibration_images": 64}


def config(**changes):
    values = {"macs_fraction": 0.7, "importance": "taylor", "round_to": 8, "calibration_images": 64, "seed": 0}
    return PruneConfig(**(values | changes))


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
@pytest.mark.parametrize("source", ["timm:test_efficientnet", "torchvision:resnet18"])
def test_the_target_is_reached_and_not_overshot_by_more_than_a_block(make_bundle, dataset, importance, source):
    result = prune_bundle(make_bundle(source), dataset, config(importance=importance), report=lambda line: None)
    assert 0.6 < result.macs_fraction <= 0.7
    assert result.macs_after == count_macs(result.bundle.module, result.bundle.inputs)
    assert all(kept == total or kept % 8 == 0 for kept, total in result.groups.values())


def test_the_pruned_model_reloads_and_computes_the_same(make_bundle, save_bundle, dataset, store):
    bundle = make_bundle("timm:test_efficientnet")
    images = torch.randn(3, 3, 32, 32)
    before = bundle.module(images)
    result = prune_bundle(bundle, dataset, config(), report=lambda line: None)
    reloaded = load_model(save_bundle(result.bundle), store)
    torch.testing.assert_close(reloaded.module(images), result.bundle.module(images))
    # The model given is the teacher: it must come out as it went in.
    assert torch.equal(bundle.module(images), before)


def test_taylor_scores_are_what_the_channels_contribute_to_the_loss_where_they_are_read(make_bundle, dataset):
    bundle = make_bundle("torchvision:resnet18")
    module, task = bundle.module, bundle.task
    groups = PruningGraph(module, inputs=bundle.inputs, output_layers=task.output_layers(module)).groups()
    contributions = {group.name: [] for group in groups}

    def keep(name):
        def hook(_, inputs):
            inputs[0].register_hook(
                lambda gradient: contributions[name].append((inputs[0].detach() * gradient).sum((0, 2, 3)))
            )

        return hook

    scores = taylor_importance(module, groups, dataset, task, bundle, config())
    for group in groups:
        module.get_submodule(group.name.replace("conv1", "conv2")).register_forward_pre_hook(keep(group.name))
    for batch in calibration_batches(task, dataset, bundle.assets, rows=64, batch_size=32):
        (task.loss(module(batch.inputs["images"]), batch) / 32).backward()
    for name, batches in contributions.items():
        expected = torch.stack(batches).square().mean(0).sqrt()
        torch.testing.assert_close(scores[name], expected, rtol=1e-3, atol=1e-5)


def test_batch_norms_of_the_pruned_model_hold_its_own_statistics(make_bundle, dataset):
    result = prune_bundle(make_bundle("torchvision:resnet18"), dataset, config(), report=lambda line: None)
    again = copy.deepcopy(result.bundle.module)
    batches = calibration_batches(result.bundle.task, dataset, result.bundle.assets, rows=64)
    recalibrate_batchnorm(again, batches, torch.device("cpu"))
    for name, norm in result.bundle.module.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.testing.assert_close(norm.running_mean, again.get_submodule(name).running_mean, rtol=1e-3, atol=1e-4)


def test_a_pruned_model_can_be_pruned_again(make_bundle, save_bundle, dataset, store):
    once = prune_bundle(make_bundle("timm:test_efficientnet"), dataset, config(), report=lambda line: None)
    twice = prune_bundle(load_model(save_bundle(once.bundle), store), dataset, config(), report=lambda line: None)
    assert twice.macs_before == once.macs_after
    assert twice.macs_fraction <= 0.7
    images = torch.randn(2, 3, 32, 32)
    reloaded = load_model(save_bundle(twice.bundle), store)
    torch.testing.assert_close(reloaded.module(images), twice.bundle.module(images))


def test_channels_that_do_nothing_go_first_and_the_outputs_stay(make_bundle, dataset):
    bundle = make_bundle("torchvision:resnet18")
    with torch.no_grad():
        for name in [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]:
            block = bundle.module.get_submodule(name)
            block.conv2.weight[:, ::2] = 0  # nothing reads the even channels of conv1
    images = torch.randn(4, 3, 32, 32)
    result = prune_bundle(bundle, dataset, config(macs_fraction=0.8), report=lambda line: None)
    assert result.macs_fraction <= 0.8
    expected = bundle.module(images).detach()
    torch.testing.assert_close(result.bundle.module(images), expected, rtol=0.05, atol=0.05 * float(expected.std()))


def test_keeping_everything_changes_no_output_and_cuts_nothing(make_bundle, dataset):
    bundle = make_bundle("timm:test_efficientnet")
    result = prune_bundle(bundle, dataset, config(macs_fraction=1.0), report=lambda line: None)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(result.bundle.module(images), bundle.module(images), rtol=1e-3, atol=1e-3)
    assert result.bundle.architecture.surgery == ()
    assert result.macs_fraction == 1


def test_a_target_out_of_reach_gives_the_smallest_there_is_and_says_so(
    run_stage, dataset_path, make_bundle, save_bundle
):
    inputs = {"dataset": dataset_path, "model": save_bundle(make_bundle("timm:test_efficientnet"))}
    outputs = run_stage(prune, inputs=inputs, **(SETTINGS | {"recipe": {"name": "r", "macs_fraction": 0.01}}))
    assert outputs["metrics"].metadata["macs_fraction"] > 0.01
    assert "every prunable layer is at its limit" in Path(outputs["page"].path).read_text()


def test_equal_inputs_give_an_equal_digest(run_stage, dataset_path, make_bundle, save_bundle):
    inputs = {"dataset": dataset_path, "model": save_bundle(make_bundle("timm:test_efficientnet"))}
    digests = [
        read_manifest(run_stage(prune, inputs=inputs, run_name=name, **SETTINGS)["pruned"].path).digest
        for name in ("first", "second")
    ]
    assert digests[0] == digests[1]


def test_a_data_set_without_validation_images_can_still_prune(run_stage, make_dataset, make_bundle, save_bundle):
    inputs = {"dataset": make_dataset(validation=0), "model": save_bundle(make_bundle("timm:test_efficientnet"))}
    outputs = run_stage(prune, inputs=inputs, **SETTINGS)
    assert outputs["metrics"].metadata["macs_fraction"] <= 0.7
    assert "validation_top1" not in outputs["metrics"].metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe": {"name": "r", "macs_fraction": 0.0}},
            "macs_fraction must be greater than 0 and at most 1; got 0.0",
        ),
        (
            {"recipe": {"name": "r", "macs_fraction": 1.5}},
            "macs_fraction must be greater than 0 and at most 1; got 1.5",
        ),
        ({"importance": "bn"}, "importance must be one of taylor, magnitude; got 'bn'"),
        ({"round_to": 0}, "round_to must be at least 1; got 0"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_read(run_stage, tmp_path, changes, message):
    nowhere = {"dataset": tmp_path / "nowhere", "model": tmp_path / "nowhere"}
    with pytest.raises(UserError, match=message):
        run_stage(prune, inputs=nowhere, **(SETTINGS | changes))


def test_a_model_of_other_classes_is_refused(make_bundle, dataset):
    bundle = make_bundle("timm:test_efficientnet")
    bundle.assets.labels[0] = "squares"
    with pytest.raises(UserError, match="they must be the same"):
        prune_bundle(bundle, dataset, config())
