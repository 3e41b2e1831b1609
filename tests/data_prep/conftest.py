import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """An encoded random image, the same for the same number."""

    def encoded(number: int, format: str = "JPEG", size: tuple[int, int] = (24, 16), **options: object) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture
def twenty_jpegs(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """20 JPEGs in 2 classes, 3 of them broken: empty, cut short, and no image at all."""
    folder = tmp_path / "pets"
    for number in range(20):
        path = folder / ("cats" if number % 2 else "dogs") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (folder / "cats" / "03.jpg").write_bytes(b"")
    (folder / "dogs" / "04.jpg").write_bytes(picture(4)[:-200])
    (folder / "dogs" / "08.jpg").write_bytes(b"<html>not found</html>")
    return folder
