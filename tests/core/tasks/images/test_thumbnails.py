import io

import numpy as np
from PIL import Image

from components.core.tasks.images.thumbnails import embeddable


def noise(width: int, height: int) -> bytes:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_large_image_is_embedded_as_a_thumbnail_and_a_small_one_as_it_is():
    data, media_type = embeddable(noise(300, 400))
    assert media_type == "image/jpeg"
    assert max(Image.open(io.BytesIO(data)).size) == 160
    small = noise(20, 20)
    assert embeddable(small) == (small, "image/png")


def test_a_deep_image_is_shown_by_the_levels_of_its_data_set():
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(buffer, format="PNG")
    data, media_type = embeddable(buffer.getvalue(), (0.0, 4095.0))
    assert media_type == "image/jpeg"
    assert np.asarray(Image.open(io.BytesIO(data))).min() > 240
