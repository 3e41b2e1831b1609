"""Which images calibrate and which check."""

import numpy as np
import pytest

from components.core.errors import UserError
from components.quantize.calibration import Division, QuantizeConfig, training_feeds
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
