"""Thresholds of a retraining and a promotion, checked when they are built, and anchors."""

from dataclasses import dataclass

from components.core.parameters import check_declared

AUTO, SKIP, FINE_TUNE, OPTIMIZE = "auto", "skip", "fine-tune", "optimize"
ACTIONS = (AUTO, SKIP, FINE_TUNE, OPTIMIZE)


@dataclass(frozen=True, kw_only=True)
class RetrainPolicy:
    """When to retrain, and how.

    Attributes:
        action: auto, or what to do whatever the data say: skip, fine-tune, optimize.
        min_new_images: retraining is skipped until this many new rows have arrived.
        max_quarantined: share of the newly arrived files that may be unusable, 0 to 1; more is taken for a fault.
        min_growth: new rows, as a share of the champion's data, that are reason enough without any drift.
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
        check_declared(vars(self))


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A release beside the champion that no challenger may fall behind, so that small losses do not add up.

    Attributes:
        title: what it is: "best proven release", "first release of 2026".
        release: name/version. Of a deleted anchor it is the champion, which stands in for it.
        deleted: name/version of the anchor, if it is not in the store any more.
    """

    title: str
    release: str
    deleted: str = ""


@dataclass(frozen=True, kw_only=True)
class PromotionPolicy:
    """How much worse than the champion a challenger may be, in points of the primary metric.

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
        check_declared(vars(self))
