import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.data import dataset as dataset_module
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.store import Store, open_store
from components.core.tasks import get_task


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Pixels → encoded bytes."""

    def encoded(pixels: np.ndarray, format: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def picture(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    """An encoded random image, the same for the same number."""

    def encoded(number: int, format: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        return encode(pixels, format)

    return encoded


@pytest.fixture
def image_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Callable[..., bytes]
) -> Callable[[], Dataset]:
    """Opens a data set of 23 images, 10 × 14 pixels, in several shards; each call a new object with nothing decoded."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 4000)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(23):
        image = encode(rng.integers(0, 256, (10, 14, 3), dtype=np.uint8))
        digest = hashlib.sha256(image).hexdigest()
        rows.append({"image": image, "label": number % 2, "digest": digest, "source": str(number)})
    store = open_store(str(tmp_path / "store"))
    write_dataset(
        tmp_path / "data", rows=get_task("classification").rows, classes=["a", "b"], splits={"train": rows}, store=store
    )
    return lambda: open_dataset(tmp_path / "data", store)
