import io
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.core.data.dataset import write_dataset
from components.core.store import Store, open_store
from components.core.tasks import get_task

CATALOG = """
backbones:
  small:
    {entry}architecture: torchvision:squeezenet1_1
  large:
    {entry}architecture: timm:lcnet_100
"""
ENTRY = "weights: none\n    licence: MIT\n    image_size: 32\n    mean: [0.5, 0.5, 0.5]\n    std: [0.5, 0.5, 0.5]\n    "


def stripes(count: int, split: str) -> Iterator[dict[str, Any]]:
    """Two classes that any network's features tell apart: horizontal and vertical stripes."""
    rng = np.random.default_rng(len(split))
    for number in range(count):
        pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        pixels[::4] += 180
        if number % 2:
            pixels = pixels.swapaxes(0, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        image = buffer.getvalue()
        yield {"image": image, "label": number % 2, "digest": sha256(image).hexdigest(), "source": f"{split}-{number}"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def dataset_path(tmp_path: Path, store: Store) -> Path:
    counts = {"train": 40, "validation": 4, "test": 4}
    # In the order of the digests, as data preparation stores them: an evenly spread subset is then a random one.
    splits = {split: sorted(stripes(n, split), key=lambda row: str(row["digest"])) for split, n in counts.items()}
    path = tmp_path / "dataset"
    write_dataset(path, rows=get_task("classification").rows, classes=["rows", "columns"], splits=splits, store=store)
    return path


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    """Two backbones with random weights: `small` has 0.7 M parameters, `large` 1.7 M, and more MACs."""
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG.format(entry=ENTRY), encoding="utf-8")
    return path
