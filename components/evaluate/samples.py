"""A few images to look at: what the candidate gets wrong, and what it gets right."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from components.core.tasks.images.preprocess import open_image
from components.evaluate.inference import Outcome

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SAMPLES = 24
MEDIA_TYPES = {name: f"image/{name.lower()}" for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP")}
_WHOLE_BYTES = 12_000
_THUMBNAIL = 160


def pick_samples(candidate: Outcome, number: int = SAMPLES) -> np.ndarray:
    """Row numbers, ascending: up to half of them wrong, the others right, each spread evenly over the split."""
    wrong = _spread(np.flatnonzero(candidate.correct < 1), number // 2)
    right = _spread(np.flatnonzero(candidate.correct == 1), number - len(wrong))
    return np.sort(np.concatenate([wrong, right]))


def read_samples(
    dataset: "Dataset", split: str, rows: np.ndarray, candidate: Outcome, baseline: Outcome
) -> list[dict[str, Any]]:
    """The images of `rows` with class names, wrong ones first, small enough to embed in a page."""
    wanted = set(rows.tolist())
    found = []
    for number, row in enumerate(dataset.iterate(split, columns=("image", "digest"))):
        if number not in wanted:
            continue
        encoded, media_type = embeddable(row["image"])
        found.append(
            {
                "digest": row["digest"],
                "label": dataset.classes[candidate.labels[number]],
                "candidate": dataset.classes[candidate.predictions[number]],
                "baseline": dataset.classes[baseline.predictions[number]],
                "image_base64": base64.b64encode(encoded).decode("ascii"),
                "media_type": media_type,
            }
        )
        if len(found) == len(wanted):
            break
    return sorted(found, key=lambda sample: sample["label"] == sample["candidate"])


def embeddable(image: bytes) -> tuple[bytes, str]:
    """Bytes and media type for a page: a small file that browsers show as it is, all else as a JPEG thumbnail."""
    with Image.open(io.BytesIO(image)) as opened:
        media_type = MEDIA_TYPES.get(opened.format or "")
    if media_type and len(image) <= _WHOLE_BYTES:
        return image, media_type
    small = open_image(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue(), "image/jpeg"


def _spread(rows: np.ndarray, number: int) -> np.ndarray:
    if len(rows) <= number:
        return rows
    return rows[np.arange(number) * len(rows) // number]
