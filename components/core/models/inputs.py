"""Inputs and outputs of networks: named tensors with free dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH = "batch"
"""The free dimension along which rows lie."""

DTYPES = ("float32", "int64")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a network.

    Attributes:
        name: as the ONNX graph calls it.
        dtype: float32 or int64.
        shape: sizes; a text names a free dimension ("batch", "length").
        high: for int64, examples are drawn from 0 to `high` - 1.
        typical: free dimensions but the batch, with the size at which the network is measured.

    Raises:
        ValueError: an unknown dtype, or int64 without `high`.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    high: int | None = None
    typical: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype of input {self.name!r} must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.dtype == "int64" and (self.high is None or self.high < 1):
            raise ValueError(f"input {self.name!r} of int64 needs high, the number of values, got {self.high!r}")

    def sizes(self, free: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with a number for each free dimension, `typical` where `free` has none; KeyError without either."""
        known = {**dict(self.typical), **free}
        return tuple(known[size] if isinstance(size, str) else size for size in self.shape)

    def example(self, rng: np.random.Generator, free: Mapping[str, int]) -> np.ndarray:
        """A random value: standard normal for float32, uniform over the values for int64."""
        if self.dtype == "int64":
            return rng.integers(0, self.high, size=self.sizes(free), dtype=np.int64)
        return rng.standard_normal(self.sizes(free), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of a network: name, and shape with named free dimensions."""

    name: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A part of a model that becomes one ONNX file: what computes it, what it takes and gives.

    `module` is called with the inputs in the order given, and returns one tensor for one output, else a tuple of them.
    `free` gives each free dimension but "batch" the size at which the graph is measured and compared. `multiples` says
    of what some of them must be multiples; a graph with such dimensions is compared at a second size too. `calls`:
    how often a typical row needs it (a decoder's step: once for each piece).
    """

    module: Any
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    free: tuple[tuple[str, int], ...] = ()
    multiples: tuple[tuple[str, int], ...] = ()
    calls: int = 1

    def sizes(self, batch: int) -> dict[str, int]:
        """Each free dimension with its size."""
        return {BATCH: batch, **dict(self.free)}

    @property
    def trials(self) -> list[dict[str, int]]:
        """The sizes of the free dimensions but "batch" at which the graph is compared."""
        return trials(dict(self.free), dict(self.multiples))


def trials(free: Mapping[str, int], multiples: Mapping[str, int]) -> list[dict[str, int]]:
    """`free` itself, and with `multiples` a second one: the first such dimension larger by one step, the next by two, …

    No two dimensions grow alike, so that an exchange of height and width is seen.
    """
    if not multiples:
        return [dict(free)]
    larger = {name: free[name] + steps * step for steps, (name, step) in enumerate(multiples.items(), start=1)}
    return [dict(free), {**free, **larger}]


def examples(inputs: Sequence[InputSpec], free: Mapping[str, int], *, seed: int = 0) -> dict[str, np.ndarray]:
    """A random value for every input, by name, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return {spec.name: spec.example(rng, free) for spec in inputs}
