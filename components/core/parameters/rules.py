"""Rules for values: ranges of numbers, and rules between two parameters. Both the first task of a pipeline and
the stages' configurations check by these."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError

NO_LIMIT = -1.0
"""Stands for "no limit" on a form, which knows no empty number."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`; `above` and `below` leave the border itself out. `also`: single values outside of
    the range that mean something, with their meaning. Not finite is never in range."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    also: Mapping[float, str] = field(default_factory=dict)

    def holds(self, value: Any) -> bool:
        """Whether `value` is a finite number in the range."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return value in self.also or (over and under)

    @property
    def words(self) -> str:
        """As it follows "must be"."""
        if not self.above and not self.below and self.high < math.inf:
            said = f"between {self.low:g} and {self.high:.10g}"
        else:
            said = f"{'greater than' if self.above else 'at least'} {self.low:g}"
            if self.high < math.inf:
                said += f" and {'less than' if self.below else 'at most'} {self.high:g}"
        return "".join([said, *(f", or {value:g} for {meaning}" for value, meaning in self.also.items())])


POSITIVE = Range(low=0, above=True)
NOT_NEGATIVE = Range(low=0)
SEED = Range(low=0, high=2**32 - 1)
"""Torch takes 64 bits, and `core/training/ranks.py` multiplies the seed by about 2³⁰."""
AT_LEAST_ONE = Range(low=1)
FRACTION = Range(low=0, high=1)
PROPER_FRACTION = Range(low=0, high=1, above=True, below=True)
SHARE = Range(low=0, high=1, above=True)
BELOW_ONE = Range(low=0, high=1, below=True)
POINTS = Range(low=0, high=100)
LIMIT = Range(low=0, above=True, also={NO_LIMIT: "no limit"})
LIMIT_FROM_ZERO = Range(low=0, also={NO_LIMIT: "no limit"})


LARGEST_STRIDE = 32
"""Of a feature map against the image, in any backbone: multiples of it are multiples of every stride."""

KERNEL_CHANNELS = 16
"""Channels that onnxruntime's int8 depthwise kernel computes at a time."""


def limit(value: float | None) -> float | None:
    """A limit as the code behind a form uses it: None for no limit."""
    return None if value == NO_LIMIT else value


def processes_share_a_batch(num_processes: int, batch_size: int, batch_tokens: int = 0) -> None:
    """Each process takes an equal part of every batch of so many rows; of so many elements the parts may differ."""
    if not batch_tokens and batch_size % num_processes:
        raise UserError(f"num_processes must be a divisor of batch_size {batch_size}; got {num_processes}")


def batch_norms_see_whole_batches(batch_norm: str, num_processes: int) -> None:
    """With several processes, a batch norm would see a part of the batch."""
    if num_processes > 1 and batch_norm != "frozen":
        raise UserError(f"batch_norm must be frozen with several processes; got {batch_norm!r}")


def batch_norms_see_whole_parts(batch_norm: str, accumulation_steps: int) -> None:
    """In several parts, a batch norm would see one part at a time."""
    if accumulation_steps > 1 and batch_norm != "frozen":
        raise UserError(f"batch_norm must be frozen with accumulation_steps above 1; got {batch_norm!r}")


def a_tenth_is_left_for_training(validation_fraction: float, test_fraction: float) -> None:
    """The three splits share all data."""
    left = 1 - validation_fraction - test_fraction
    if left < 0.1 - 1e-9:
        raise UserError(
            f"validation_fraction {validation_fraction:g} and test_fraction {test_fraction:g} leave {max(left, 0):.0%} "
            "of the data for training; at least 10% is needed"
        )


def a_student_is_never_larger(student_size: int, image_size: int) -> None:
    """It learns from its teacher's images, made smaller; 0 is the backbone's own size, which is not known yet."""
    if image_size and student_size > image_size:
        raise UserError(
            f"student_size {student_size} is larger than image_size {image_size}; a student may only be smaller"
        )


def a_smaller_student_sees_shrunk_images(inference: str, image_size: int, student_size: int) -> None:
    """Where images keep their resolution, a smaller input would be a smaller part of the image."""
    if inference != "resize" and student_size not in (0, image_size):
        raise UserError(
            f"student_size {student_size} needs inference resize, got {inference}, which keeps the images' resolution"
        )


def whole_images_have_steps(inference: str, image_size: int) -> None:
    """A graph with free height and width takes multiples of its deepest stride; 0 is not known yet."""
    if inference == "whole" and image_size % LARGEST_STRIDE:
        raise UserError(f"inference whole needs an image_size that is a multiple of {LARGEST_STRIDE}, got {image_size}")


def latency_is_predicted_between_whole_steps(prune_price: str, round_to: int) -> None:
    """Times are interpolated between a few widths; between two multiples of the kernels' step they jump."""
    if prune_price == "latency" and round_to % KERNEL_CHANNELS:
        raise UserError(
            f"prune_price latency needs a round_to that is a multiple of {KERNEL_CHANNELS}, got {round_to}: other "
            "numbers of channels take up to twice as long, which the prediction does not see"
        )


def fitting_needs_a_limit(prune_to_fit: bool, max_latency_ms: float, max_size_mb: float, prune_price: str) -> None:
    """Pruning to fit derives its amount from the limits, in multiply-accumulates."""
    if prune_to_fit and max_latency_ms == max_size_mb == NO_LIMIT:
        raise UserError("prune_to_fit needs a limit: give max_latency_ms or max_size_mb")
    if prune_to_fit and prune_price != "macs":
        raise UserError(f"prune_to_fit needs prune_price macs, got {prune_price}")


def two_of_four_is_half(weight_sparsity: float, sparsity_pattern: str) -> None:
    """The pattern says how many weights go."""
    if sparsity_pattern == "2:4" and weight_sparsity != 0.5:
        raise UserError(f"sparsity_pattern 2:4 needs weight_sparsity 0.5, got {weight_sparsity:g}")


def label_shifts_are_in_order(label_shift: float, large_label_shift: float) -> None:
    """A threshold for a search may not be below that for fine-tuning."""
    _in_order("label_shift", label_shift, "large_label_shift", large_label_shift)


def feature_drifts_are_in_order(feature_drift: float, large_feature_drift: float) -> None:
    """A threshold for a search may not be below that for fine-tuning."""
    _in_order("feature_drift", feature_drift, "large_feature_drift", large_feature_drift)


def _in_order(small: str, low: float, large: str, high: float) -> None:
    if low > high:
        raise UserError(f"{small} {low:g} must be at most {large} {high:g}")


RULES_BETWEEN: tuple[Callable[..., None], ...] = (
    processes_share_a_batch,
    batch_norms_see_whole_batches,
    batch_norms_see_whole_parts,
    a_tenth_is_left_for_training,
    a_student_is_never_larger,
    a_smaller_student_sees_shrunk_images,
    whole_images_have_steps,
    latency_is_predicted_between_whole_steps,
    two_of_four_is_half,
    fitting_needs_a_limit,
    label_shifts_are_in_order,
    feature_drifts_are_in_order,
)
"""Each takes the parameters that it compares by their names; one with a default may be missing from a form."""


def check_between(values: Mapping[str, Any]) -> None:
    """Checks every rule of `RULES_BETWEEN` whose parameters are among `values`; the values themselves are valid.

    Raises:
        UserError: names both parameters and their values.
    """
    for rule in RULES_BETWEEN:
        names = inspect.signature(rule).parameters
        if all(name in values for name, one in names.items() if one.default is one.empty):
            rule(**{name: values[name] for name in names if name in values})
