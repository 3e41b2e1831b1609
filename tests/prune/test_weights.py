"""Weight pruning: which weights become zero, and that they stay zero to the end."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.bundles.onnx_bundle import load_onnx
from components.core.errors import UserError
from components.core.models.sparsity import share_of_zeros, weight_layers
from components.distill.component import distill
from components.fine_tune.component import fine_tune
from components.prune.component import prune
from components.prune.config import PruneConfig
from components.prune.weights import smallest_of_all, two_of_four, zero_weights
from components.quantize.component import quantize


def test_the_smallest_of_the_whole_network_go_as_many_as_asked_for():
    torch.manual_seed(0)
    weights = [torch.randn(4, 3, 2, 2), torch.randn(5, 7) / 3]
    masks = smallest_of_all(weights, 0.6)
    gone = [abs(v) for w, m in zip(weights, masks, strict=True) for v in w[~m].tolist()]
    left = [abs(v) for w, m in zip(weights, masks, strict=True) for v in w[m].tolist()]
    assert len(gone) == round(0.6 * (48 + 35))
    assert max(gone) < min(left)
    assert [mask.shape for mask in masks] == [weight.shape for weight in weights]


def test_of_equal_magnitudes_no_more_go_than_asked_for():
    (mask,) = smallest_of_all([torch.tensor([[1.0, -1.0], [1.0, 2.0]])], 0.5)
    assert mask.tolist() == [[False, False], [True, True]]


def test_of_each_four_inputs_the_two_largest_stay():
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.5, 0.5, 0.5, 0.5]])
    assert two_of_four(weight).tolist() == [[False, True, False, True, True, True, False, False]]


def test_fours_of_a_convolution_run_along_its_input_channels():
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 2, 3)
    mask = two_of_four(weight)
    for out in range(3):
        for row in range(2):
            for column in range(3):
                for first in (0, 4):
                    four = weight[out, first : first + 4, row, column].abs()
                    expected = [bool(value >= four.sort().values[2]) for value in four]
                    assert mask[out, first : first + 4, row, column].tolist() == expected


def test_only_convolutions_and_linear_layers_give_weights_and_layers_that_do_not_fit_stay_whole():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    assert zero_weights(module, 0.5, "2:4") == ("3",)
    assert [int((layer.weight == 0).sum()) for layer in weight_layers(module).values()] == [0, 0, 16]
    assert share_of_zeros(module) == pytest.approx(16 / (216 + 72 + 32))
    assert module[1].weight.tolist() == [1.0] * 8
    assert zero_weights(module, 0.0, "unstructured") == ()


@pytest.mark.parametrize(("pattern", "fraction"), [("unstructured", 0.6), ("2:4", 0.5)])
def test_zeros_stay_zero_from_pruning_to_the_int8_file(
    make_dataset, make_bundle, save_bundle, run_stage, store, pattern, fraction
):
    asked = {"name": "r", "macs_fraction": 0.8, "weight_sparsity": fraction, "sparsity_pattern": pattern}
    data, teacher = make_dataset(train=64, validation=16), save_bundle(make_bundle("timm:test_efficientnet"))
    pruned = run_stage(
        prune, inputs={"dataset": data, "model": teacher}, run_name="prune", recipe=asked, round_to=8,
        calibration_images=32,
    )["pruned"]  # fmt: skip
    distilled = run_stage(
        distill, inputs={"dataset": data, "teacher": teacher, "student": pruned.path}, run_name="distill", recipe=asked,
        epochs=2, batch_size=16, learning_rate=0.01,
    )["distilled"]  # fmt: skip
    tuned = run_stage(
        fine_tune, inputs={"dataset": data, "model": distilled.path}, run_name="tune", epochs=1,
        head_epochs=0, batch_size=16,
    )["tuned"]  # fmt: skip
    before, after, later = (load_model(one.path, store) for one in (pruned, distilled, tuned))
    zeros = {name: layer.weight == 0 for name, layer in weight_layers(before.module).items()}
    share = share_of_zeros(before.module)
    assert pruned.metadata["zero_weights"] == pytest.approx(share)
    assert share == pytest.approx(fraction, abs=0.002) if pattern == "unstructured" else 0.3 < share < fraction
    for trained in (after, later):
        assert trained.architecture.sparse == before.architecture.sparse != ()
        moved = 0.0
        for name, layer in weight_layers(trained.module).items():
            if name in trained.architecture.sparse:
                assert torch.equal(layer.weight == 0, zeros[name]), name
                moved += float((layer.weight - weight_layers(before.module)[name].weight).abs().sum().detach())
        assert moved > 0.1
    released = run_stage(
        quantize, inputs={"dataset": data, "model": distilled.path}, run_name="quantize", recipe=asked,
        calibration_images=32,
    )["quantized"]  # fmt: skip
    bundle = load_onnx(read_manifest(released.path), store)
    assert bundle.provenance["zero_weights"] == pytest.approx(share_of_zeros(after.module))
    integers = [
        numpy_helper.to_array(one) for one in onnx.load(bundle.graphs["model"]).graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4
    ]  # fmt: skip
    assert sum(int(np.sum(one == 0)) for one in integers) / sum(one.size for one in integers) > 0.8 * share


def test_two_of_four_needs_a_half():
    given = {"macs_fraction": 1.0, "importance": "taylor", "round_to": 8, "calibration_images": 8, "seed": 0}
    with pytest.raises(UserError, match=r"sparsity_pattern 2:4 needs weight_sparsity 0.5, got 0.3"):
        PruneConfig(**given, weight_sparsity=0.3, sparsity_pattern="2:4")
