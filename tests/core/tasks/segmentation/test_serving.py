import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from components.core.tasks.segmentation.masks import IGNORED, default_palette
from components.core.tasks.segmentation.serving import cropped, decode_mask, overlay, padded


def test_the_decoded_mask_is_the_argmax_of_torchs_upsampled_logits() -> None:
    rng = np.random.default_rng(0)
    for size, target in (((12, 12), (96, 96)), ((7, 5), (31, 44)), ((9, 9), (9, 9)), ((20, 30), (11, 13))):
        logits = rng.standard_normal((6, *size)).astype(np.float32)
        larger = F.interpolate(torch.from_numpy(logits)[None], size=target, mode="bilinear", align_corners=False)[0]
        first, second = larger.topk(2, dim=0).values
        clear = (first - second > 1e-5).numpy()
        mask = decode_mask(logits, *target)
        assert mask.dtype == np.uint8
        assert mask.shape == target
        np.testing.assert_array_equal(mask[clear], larger.argmax(0).numpy()[clear])
        assert clear.mean() > 0.99


def test_the_first_of_equal_classes_wins() -> None:
    logits = np.zeros((3, 2, 2), np.float32)
    logits[:, 0, 0] = -1, 5, 5
    np.testing.assert_array_equal(decode_mask(logits, 2, 2), [[1, 0], [0, 0]])


def test_padding_reaches_the_divisor_and_cropping_undoes_it() -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 33, 64)).astype(np.float32)
    larger = padded(images, 32)
    assert larger.shape == (2, 3, 64, 64)
    assert (larger[:, :, 33:] == 0).all()
    np.testing.assert_array_equal(cropped(larger, 33, 64), images)
    np.testing.assert_array_equal(padded(larger, 32), larger)


def test_the_overlay_blends_classes_and_marks_wrong_pixels_only() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    mask = np.array([[0, 1, 2, IGNORED]] * 4, np.uint8)
    palette = default_palette(3)
    plain = np.asarray(Image.open(io.BytesIO(overlay(image, mask, palette))))
    for column, colour in ((1, palette[1]), (2, palette[2])):
        expected = np.rint(0.45 * 100 + 0.55 * np.array(colour))
        assert np.abs(plain[:, column] - expected).max() <= 1
    assert (plain[:, [0, 3]] == 100).all()
    truth = mask.copy()
    truth[:, 1], truth[:, 2], truth[:, 3] = 0, IGNORED, 1
    marked = np.asarray(Image.open(io.BytesIO(overlay(image, mask, palette, truth=truth))))
    changed = (marked != plain).any(axis=2)
    assert (changed.sum(axis=0) == [0, 2, 0, 2]).all()
    assert (marked[changed] == (255, 0, 255)).all()
