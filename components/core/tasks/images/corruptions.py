"""Eight corruptions of pictures at three severities: pure functions on pixels.

In the spirit of ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261); formulas and strengths are our own.
Lengths are shares of the shorter side, so that a severity looks alike on small and large pictures. Every function takes
float64 `(H, W, 3)` in 0..1, a strength and a random generator, and gives float64 `(H, W, 3)`, which `corrupted` clips.
"""

import io
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image

SEVERITIES = (1, 2, 3)

_STEPS_PER_PIXEL = 2
_RADIUS = 3


def gaussian_noise(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """`x + σ·n` with n standard normal, per pixel and channel: a sensor in low light."""
    return pixels + sigma * rng.standard_normal(pixels.shape)


def shot_noise(pixels: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """`Poisson(λ·x) / λ`, per pixel and channel: white is λ photons on average, and fewer photons are noisier."""
    return rng.poisson(photons * pixels) / photons


def gaussian_blur(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Convolution with `exp(−(i² + j²) / 2σ²)`, normalised, up to 3σ; σ = share · shorter side; edges repeated."""
    sigma = share * min(pixels.shape[:2])
    reach = math.ceil(_RADIUS * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    along = dict(zip(range(-reach, reach + 1), weights.tolist(), strict=True))
    blurred = _averaged(pixels, {(step, 0): weight for step, weight in along.items()})
    return _averaged(blurred, {(0, step): weight for step, weight in along.items()})


def motion_blur(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mean of the picture over its places while it moves along a straight line.

    `1/K · Σ x(p + t_k·d)`, d a direction drawn from all of them, t_k evenly spaced in ±ℓ/2 with ℓ = share · shorter
    side, K = 2⌈ℓ⌉ + 1; between pixels bilinear; edges repeated.
    """
    length, angle = share * min(pixels.shape[:2]), rng.uniform(0, math.pi)
    steps = _STEPS_PER_PIXEL * math.ceil(length) + 1
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for moved in np.linspace(-length / 2, length / 2, steps):
        y, x = moved * math.sin(angle), moved * math.cos(angle)
        top, left = math.floor(y), math.floor(x)
        for row, of_row in ((top, 1 - (y - top)), (top + 1, y - top)):
            for column, of_column in ((left, 1 - (x - left)), (left + 1, x - left)):
                weights[row, column] += of_row * of_column / steps
    return _averaged(pixels, weights)


def brightness(pixels: np.ndarray, added: float, rng: np.random.Generator) -> np.ndarray:
    """`x + b`: overexposed; what was bright becomes white."""
    return pixels + added


def contrast(pixels: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """`m + c·(x − m)` with m each channel's mean over the picture: fog."""
    mean = pixels.mean(axis=(0, 1))
    return mean + kept * (pixels - mean)


def pixelate(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Each pixel becomes the mean of its cell; of n pixels a side has round(share · n) cells, at least 1."""
    for axis in (0, 1):
        size = pixels.shape[axis]
        cells = max(1, round(share * size))
        starts = np.arange(cells) * size // cells
        counts = np.diff(starts, append=size)
        sums = np.add.reduceat(pixels, starts, axis=axis)
        means = sums / np.expand_dims(counts, axis=(1 - axis, 2))
        pixels = np.repeat(means, counts, axis=axis)
    return pixels


def jpeg(pixels: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Encoded and decoded by Pillow as a JPEG of this quality (1 to 95), with halved chroma."""
    buffer = io.BytesIO()
    Image.fromarray(_as_bytes(pixels)).save(buffer, format="JPEG", quality=round(quality), subsampling="4:2:0")
    with Image.open(buffer) as decoded:
        return np.asarray(decoded, dtype=np.float64) / 255


@dataclass(frozen=True)
class Corruption:
    """A corruption: its function, and its strength by severity, the mildest first."""

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    strengths: tuple[float, float, float]


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian noise": Corruption(gaussian_noise, (0.06, 0.12, 0.24)),
    "shot noise": Corruption(shot_noise, (60, 20, 6)),
    "gaussian blur": Corruption(gaussian_blur, (0.015, 0.03, 0.045)),
    "motion blur": Corruption(motion_blur, (0.04, 0.08, 0.16)),
    "brightness": Corruption(brightness, (0.1, 0.2, 0.4)),
    "contrast": Corruption(contrast, (0.5, 0.3, 0.15)),
    "pixelate": Corruption(pixelate, (0.6, 0.4, 0.25)),
    "JPEG": Corruption(jpeg, (25, 12, 5)),
}
"""By name. Three of the benchmark's noises and blurs each, one of its weathers, three of its digital ones."""


def corrupted(pixels: np.ndarray, name: str, severity: int, *, seed: str) -> np.ndarray:
    """A picture, damaged; equal arguments give equal pixels, and a seed gives all severities the same draws.

    Args:
        pixels: uint8 `(H, W, 3)`; not changed.
        name: of `CORRUPTIONS`.
        severity: one of `SEVERITIES`.
        seed: any text, such as the row's digest.

    Returns:
        uint8 `(H, W, 3)`.
    """
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng(int.from_bytes(sha256(f"{seed} {name}".encode()).digest()))
    return _as_bytes(corruption.apply(pixels / 255.0, corruption.strengths[severity - 1], rng))


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    return np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)


def _averaged(pixels: np.ndarray, weights: Mapping[tuple[int, int], float]) -> np.ndarray:
    """`Σ w(a, b)·x(i + a, j + b)`, edges repeated."""
    height, width, _ = pixels.shape
    reach = max(max(abs(row), abs(column)) for row, column in weights)
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(pixels)
    for (row, column), weight in weights.items():
        top, left = reach + row, reach + column
        total += weight * padded[top : top + height, left : left + width]
    return total
