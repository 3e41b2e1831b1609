"""The parameters of pruning, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from components.core.parameters import check_declared

MACS, LATENCY = "macs", "latency"
GREEDY, EXACT = "greedy", "exact"
OF_RECIPE = ("prune_allocation", "weight_sparsity", "sparsity_pattern")
"""Of these parameters a recipe may have its own."""


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """How far to prune, and at which price.

    Attributes:
        macs_fraction: multiply-accumulates to keep, or of the latency where that is the price, in (0, 1]; 1 changes
            nothing.
        importance, round_to, prune_price, seed: as declared.
        calibration_images: training images for importance and batch-norm statistics.
        scheme, student_size: of the recipe, since they decide about latency.
        latency_threads: threads of onnxruntime whose latency is the price.
        prune_allocation, weight_sparsity, sparsity_pattern: as declared; of the recipe.
        more: what a recipe holds for a task with its own way of pruning.

    Raises:
        UserError: names the value.
    """

    macs_fraction: float
    importance: str
    round_to: int
    calibration_images: int
    seed: int
    prune_price: str = MACS
    scheme: str = "int8"
    latency_threads: int = 1
    student_size: int = 0
    prune_allocation: str = GREEDY
    weight_sparsity: float = 0.0
    sparsity_pattern: str = "unstructured"
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_declared({name: value for name, value in vars(self).items() if name != "calibration_images"})
        if not 0 < self.macs_fraction <= 1:
            raise UserError(f"macs_fraction must be greater than 0 and at most 1; got {self.macs_fraction!r}")
        if self.calibration_images < 2:
            raise UserError(f"calibration_images must be at least 2; got {self.calibration_images!r}")
