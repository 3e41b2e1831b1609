"""Flips and shifts, against every crop of the padded image."""

import numpy as np

from components.core.tasks.images.augment import augmented, draw_flips_and_shifts


def test_augmentation_flips_and_shifts_with_repeated_edges() -> None:
    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(1, 32, 32, 3) % 251
    batch = np.repeat(image.astype(np.uint8), 64, axis=0)
    before = batch.copy()
    padded = np.pad(batch[0], ((2, 2), (2, 2), (0, 0)), mode="edge")  # 32 / 16 = 2 pixels at most
    possible = {}
    for y in range(5):
        for x in range(5):
            crop = padded[y : y + 32, x : x + 32]
            possible[crop.tobytes()] = possible[crop[:, ::-1].tobytes()] = (y, x)
    result = augmented(batch, draw_flips_and_shifts(np.random.default_rng(0), 64, 32, 32))
    assert len({possible[one.tobytes()] for one in result}) > 10
    np.testing.assert_array_equal(batch, before)


def test_what_is_done_to_an_image_is_what_was_drawn_for_it() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    draws = {"flip": np.array([False, True, False]), "shift_y": np.array([0, 0, 1]), "shift_x": np.array([0, 0, -1])}
    same, flipped, shifted = augmented(np.stack([image] * 3), draws)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(shifted, image[[1, 2, 3, 3]][:, [0, 0, 1, 2]])
