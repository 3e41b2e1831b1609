"""Which images calibrate and which check."""

from contextlib import closing

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.quantize.calibration import Division, QuantizeConfig, check_feeds, check_split, training_feeds
from components.quantize.observe import activation_ranges


@pytest.mark.parametrize(
    ("rows", "images", "calibrate", "held_out"),
    [(1000, 100, 100, 100), (150, 100, 100, 50), (12, 512, 9, 3), (2, 8, 1, 1)],
)
def test_the_check_never_goes_without_images(rows, images, calibrate, held_out):
    division = Division.of(rows, images, seed=0)
    assert (division.calibrate, division.held_out) == (calibrate, held_out)
    assert division.mask().sum() == calibrate


def test_a_split_without_images_is_refused():
    with pytest.raises(UserError, match="at least 2 images"):
        Division.of(1, 10, seed=0)


def test_calibration_and_check_share_no_image(dataset, lite0):
    division = Division.of(dataset.rows("train"), 40, seed=3)
    parts = [
        np.concatenate(
            [
                feed["images"]
                for feed in training_feeds(dataset, lite0.task, lite0.assets, division, calibrate=calibrate)
            ]
        )
        for calibrate in (True, False)
    ]
    assert [len(part) for part in parts] == [40, 40]
    kept = {image.tobytes() for image in parts[0]}
    assert not kept & {image.tobytes() for image in parts[1]}
    assert Division.of(96, 40, seed=4).mask().tolist() != division.mask().tolist()


def pictures(feeds):
    return [image.tobytes() for feed in feeds for image in feed["images"]]


def test_the_check_reads_validation_images_as_many_as_calibrated(dataset_with_validation, lite0):
    division = Division.of(96, 40, seed=3)
    found = pictures(check_feeds(dataset_with_validation, lite0.task, lite0.assets, division))
    with closing(
        read_batches(dataset_with_validation, "validation", lite0.task.transform(lite0.assets), batch_size=60)
    ) as batches:
        validation = pictures(batch.inputs for batch in batches)
    assert check_split(dataset_with_validation) == "validation"
    assert len(set(found)) == 40
    assert set(found) < set(validation)


def test_without_validation_images_the_check_reads_training_images_that_did_not_calibrate(dataset, lite0):
    division = Division.of(96, 40, seed=3)
    found = pictures(check_feeds(dataset, lite0.task, lite0.assets, division))
    left = training_feeds(dataset, lite0.task, lite0.assets, division, calibrate=False)
    assert check_split(dataset) == "train"
    assert found == pictures(left)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "int4"}, "unknown scheme 'int4'; available: int8, float32"),
        ({"method": "mse"}, "calibration_method must be one of minmax, percentile, entropy; got 'mse'"),
        ({"images": 0}, "calibration_images must be at least 1; got 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        QuantizeConfig(**({"scheme": "int8", "method": "minmax", "images": 8, "seed": 0} | change))


def test_observed_ranges_do_not_depend_on_how_images_are_batched(toy_graph):
    images = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    found = [
        activation_ranges(
            toy_graph, lambda size=size: ({"images": images[i : i + size]} for i in range(0, 12, size)), "percentile",
            percentile=99.0, threads=1,
        )
        for size in (3, 12)
    ]  # fmt: skip
    assert found[0] == found[1]
    assert found[0]["images"] == (pytest.approx(images.min()), pytest.approx(images.max()))
    # The convolution's only reader is a ReLU: its range is what the ReLU lets through.
    assert found[0]["convolved"] == found[0]["rectified"]
    assert found[0]["rectified"][0] == 0.0


def chain(*outputs):
    """images → Conv → Relu → Clip(0, 0.5) → Relu, with these tensors as outputs."""
    image = ["batch", 1, 4, 4]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["rectified"]),
            helper.make_node("Clip", ["rectified", "zero", "half"], ["clipped"]),
            helper.make_node("Relu", ["clipped"], ["last"]),
        ],
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, image) for name in outputs],
        [
            numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "kernel"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_before_several_activation_functions_the_range_is_that_behind_the_last(method):
    images = np.random.default_rng(0).standard_normal((8, 1, 4, 4)).astype(np.float32)
    ranges = activation_ranges(chain("last"), lambda: [{"images": images}], method, percentile=99.99, threads=1)
    assert ranges["convolved"] == ranges["rectified"] == ranges["clipped"] == ranges["last"]
    assert ranges["last"] == (0.0, pytest.approx(0.5, rel=1e-2))


def test_an_output_of_the_graph_keeps_its_own_range():
    images = np.random.default_rng(0).standard_normal((8, 1, 4, 4)).astype(np.float32)
    model = chain("rectified", "last")
    ranges = activation_ranges(model, lambda: [{"images": images}], "minmax", percentile=99.99, threads=1)
    assert ranges["rectified"] == ranges["convolved"]
    assert ranges["rectified"][1] > 2 > ranges["clipped"][1]
