import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Encode = Callable[..., bytes]


@pytest.fixture
def pairs(tmp_path: Path, encode: Encode) -> Callable[..., Path]:
    """Writes pairs of 12 × 8 pixels, masks of 0, 1 and 2, into images/ and masks/, and returns the folder."""

    def written(count: int = 12, names: Callable[[int], str] = lambda number: f"{number:02d}") -> Path:
        folder = tmp_path / "data"
        for number in range(count):
            rng = np.random.default_rng(number)
            for kind, pixels in (
                ("images", rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)),
                ("masks", rng.integers(0, 3, (8, 12), dtype=np.uint8)),
            ):
                path = folder / kind / f"{names(number)}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(pixels))
        return folder

    return written


@pytest.fixture
def coco(tmp_path: Path, encode: Encode) -> Callable[..., Path]:
    """Writes a COCO file of one image, 6 × 4 pixels, with these annotations, and returns it."""

    def written(annotations: list[dict], *, folder: str = "images") -> Path:
        path = tmp_path / "coco" / "annotations.json"
        image = path.parent / folder / "a.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(encode(np.zeros((4, 6, 3), dtype=np.uint8)))
        document = {
            "images": [{"id": 5, "file_name": "a.png", "height": 4, "width": 6}],
            "annotations": [{"image_id": 5, **annotation} for annotation in annotations],
            "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
        }
        path.write_text(json.dumps(document))
        return path

    return written
