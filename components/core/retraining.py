"""What decides over a retraining and a promotion: thresholds, checked when they are built."""

import math
from dataclasses import dataclass, fields

from components.core.errors import UserError

AUTO, SKIP, FINE_TUNE, OPTIMIZE = "auto", "skip", "fine-tune", "optimize"
ACTIONS = (AUTO, SKIP, FINE_TUNE, OPTIMIZE)

FEWEST_ROWS = 6
"""Test images of a class or slice below which nothing is decided by it: were even all of them lost and none gained,
chance alone would do that in more than 5 % of the cases (two-sided sign test, 2·½ⁿ)."""


@dataclass(frozen=True, kw_only=True)
class RetrainPolicy:
    """When to retrain, and how.

    Attributes:
        action: auto, or what to do whatever the data say: skip, fine-tune, optimize.
        min_new_images: fewer new images than this are waited for.
        max_quarantined: share of the newly arrived files that may be unusable, 0 to 1; more is taken for a fault.
        min_growth: new images, as a share of the champion's data, that are reason enough without any drift.
        drift_alpha: p-value at or below which a difference counts as one.
        label_shift: total variation distance, 0 to 1, from which a label shift leads to fine-tuning.
        large_label_shift: the same, to a new search.
        feature_drift: AUC of the two-sample classifier, 0.5 to 1, from which feature drift leads to fine-tuning.
        large_feature_drift: the same, to a new search.

    Raises:
        UserError: a value out of range.
    """

    action: str = AUTO
    min_new_images: int = 100
    max_quarantined: float = 0.1
    min_growth: float = 0.25
    drift_alpha: float = 0.01
    label_shift: float = 0.1
    large_label_shift: float = 0.3
    feature_drift: float = 0.6
    large_feature_drift: float = 0.8

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise UserError(f"action must be one of {', '.join(ACTIONS)}; got {self.action!r}")
        _within(self, "min_new_images", 1, math.inf)
        _within(self, "min_growth", 0, math.inf)
        for name in ("max_quarantined", "label_shift", "large_label_shift"):
            _within(self, name, 0, 1)
        for name in ("feature_drift", "large_feature_drift"):
            _within(self, name, 0.5, 1)
        if not 0 < self.drift_alpha < 1:
            raise UserError(f"drift_alpha must be greater than 0 and less than 1; got {self.drift_alpha!r}")
        for small, large in (("label_shift", "large_label_shift"), ("feature_drift", "large_feature_drift")):
            low, high = getattr(self, small), getattr(self, large)
            if low > high:
                raise UserError(f"{small} {low:g} must be at most {large} {high:g}")


@dataclass(frozen=True, kw_only=True)
class PromotionPolicy:
    """How much worse than the champion a challenger may be, in percentage points of top-1.

    Attributes:
        max_loss: overall; the lower end of the paired test's interval must not lie below it.
        max_class_loss: of one class; a class counts as worse when its loss is larger and the test says that it is real.
        max_slice_loss: of one slice; as for a class.

    Raises:
        UserError: a value out of range.
    """

    max_loss: float = 1.0
    max_class_loss: float = 5.0
    max_slice_loss: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _within(self, field.name, 0, 100)


def _within(policy: object, name: str, low: float, high: float) -> None:
    value = getattr(policy, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        wanted = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise UserError(f"{name} must be {wanted}; got {value!r}")
