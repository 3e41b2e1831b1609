import time

import numpy as np
import pytest

from components.core.errors import UserError
from components.core.tasks.segmentation.augment import IGNORED, Augmentation, apply, part

PLAIN = Augmentation(flip=False, smallest_scale=1, largest_scale=1, colour=0)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Twelve images whose red channel is their mask, in blocks of 4 pixels: geometry must keep them together."""
    blocks = np.random.default_rng(0).integers(0, 4, (12, 8, 10), dtype=np.uint8)
    masks = blocks.repeat(4, axis=1).repeat(4, axis=2)
    images = np.random.default_rng(1).integers(0, 256, (*masks.shape, 3), dtype=np.uint8)
    images[..., 0] = masks * 60
    return images, masks


def test_shares_of_a_batch_see_what_the_whole_batch_sees(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = batch
    draws = Augmentation().draw(np.random.default_rng(5), 12, 32, 40)
    whole = apply(images, masks, draws)
    for first, last in ((0, 5), (5, 12), (3, 3)):
        share = apply(images[first:last], masks[first:last], part(draws, first, last))
        np.testing.assert_array_equal(share[0], whole[0][first:last])
        np.testing.assert_array_equal(share[1], whole[1][first:last])


def test_settings_leave_the_random_state_where_the_others_leave_it() -> None:
    states = []
    for augmentation in (PLAIN, Augmentation()):
        rng = np.random.default_rng(3)
        augmentation.draw(rng, 7, 32, 40)
        states.append(rng.random())
    assert states[0] == states[1]


def test_the_mask_follows_the_image_through_flip_zoom_and_crop(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = batch
    draws = Augmentation(smallest_scale=0.6, largest_scale=1.8, colour=0).draw(np.random.default_rng(0), 12, 32, 40)
    changed, moved = apply(images, masks, draws)
    assert changed.shape == images.shape
    assert moved.shape == masks.shape
    assert set(np.unique(moved)) <= {0, 1, 2, 3, IGNORED}
    counted = moved != IGNORED
    error = np.abs(changed[..., 0].astype(int) - moved.astype(int) * 60)[counted]
    # Bilinear pixels lie between two classes at the edges of blocks only.
    assert (error <= 1).mean() > 0.6
    mirrored = np.abs(changed[:, :, ::-1, 0].astype(int) - moved.astype(int) * 60)[counted]
    assert (mirrored <= 1).mean() < 0.5


def test_shrinking_pads_with_ignored_and_growing_ignores_nothing(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = batch
    half = Augmentation(flip=False, smallest_scale=0.5, largest_scale=0.5, colour=0)
    small = apply(images, masks, half.draw(np.random.default_rng(0), 12, 32, 40))[1]
    assert ((small != IGNORED).sum(axis=(1, 2)) == 16 * 20).all()
    double = Augmentation(smallest_scale=2, largest_scale=2)
    grown = apply(images, masks, double.draw(np.random.default_rng(0), 12, 32, 40))[1]
    assert (grown != IGNORED).all()


def test_nothing_changes_at_scale_one_without_flip_and_colour(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = batch
    changed, moved = apply(images, masks, PLAIN.draw(np.random.default_rng(0), 12, 32, 40))
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(moved, masks)


def test_brightness_multiplies_and_saturation_zero_would_be_grey(batch: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = batch
    draws = PLAIN.draw(np.random.default_rng(0), 12, 32, 40)
    darker, same = apply(images, masks, {**draws, "brightness": np.full(12, 0.5)})
    assert np.abs(darker.astype(float) - images * 0.5).max() <= 1
    np.testing.assert_array_equal(same, masks)
    grey = apply(images, masks, {**draws, "saturation": np.zeros(12)})[0]
    luma = images @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.astype(float) - luma[..., None]).max() <= 1


def test_half_of_the_images_are_flipped_and_scales_cover_their_range() -> None:
    draws = Augmentation().draw(np.random.default_rng(0), 4000, 32, 40)
    assert 0.46 < draws["flip"].mean() < 0.54
    assert 0.5 <= draws["scale"].min() < 0.51
    assert 1.98 < draws["scale"].max() <= 2
    assert 0.46 < (draws["scale"] < 1).mean() < 0.54


def test_impossible_settings_are_refused_with_their_value() -> None:
    with pytest.raises(UserError, match=r"2\.0 and 0\.5"):
        Augmentation(smallest_scale=2.0, largest_scale=0.5)
    with pytest.raises(UserError, match=r"colour must be in \[0, 1\), got 1"):
        Augmentation(colour=1)


def test_a_batch_of_32_takes_milliseconds() -> None:
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (32, 96, 96, 3), dtype=np.uint8), rng.integers(0, 11, (32, 96, 96), np.uint8)
    times = []
    for _ in range(10):
        start = time.thread_time()
        apply(images, masks, Augmentation().draw(rng, 32, 96, 96))
        times.append(time.thread_time() - start)
    # 11 ms on one core; the bound leaves room for slower machines.
    assert min(times) < 0.05
