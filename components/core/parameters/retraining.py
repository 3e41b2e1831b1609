"""Parameters that only a retraining has: the champion, when to retrain, and what a challenger may lose."""

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import (
    AT_LEAST_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POINTS,
    POSITIVE,
    PROPER_FRACTION,
    Range,
)

_AUC = Range(low=0.5, high=1)
FEWEST_DRIFT_IMAGES = 20
"""Of a sample for the classifier test of feature drift."""
MOST_TEST_PARTS = 366
"""One for each day of a year."""

RETRAIN = (
    Parameter(
        name="champion", field="promote_champion", type=str, default="champion",
        text="Name of the champion: the pointer (ref) to the release now in use. trimtab champion shows it.",
    ),
    Parameter(
        name="max_loss", field="promote_max_loss", type=float, default=1.0, rule=POINTS,
        text="Maximum drop against the champion, in points. The paired test must rule out a larger drop.",
    ),
    Parameter(
        name="max_class_loss", field="promote_max_class_loss", type=float, default=5.0, rule=POINTS,
        text="Maximum drop for any class, in points. A statistically significant larger drop blocks promotion.",
    ),
    Parameter(
        name="action", field="retrain_action", type=str, default="auto",
        choices=("auto", "skip", "fine-tune", "optimize"),
        text="Reaction to new data: auto decides from the data; skip, fine-tune or optimize (a new search) forces that "
        "action.",
    ),
    Parameter(
        name="min_new_images", field="retrain_min_new_images", type=int, default=100, rule=AT_LEAST_ONE,
        text="Skip retraining until this many new rows have arrived.",
    ),
    Parameter(
        name="max_slice_loss", type=float, default=5.0, rule=POINTS,
        text="Maximum drop for any slice of the test data (slice_columns), in points. A statistically significant "
        "larger drop blocks promotion.",
    ),
    Parameter(
        name="test_parts", type=int, default=1, rule=Range(low=1, high=MOST_TEST_PARTS),
        text="Number of parts into which the test split is divided, by content; groups stay whole. Each retraining is "
        "judged on the part that was used least. 1 uses the whole split every time.",
    ),
    Parameter(
        name="max_quarantined", type=float, default=0.1, rule=FRACTION,
        text="Skip training if more than this fraction of the new files is unusable.",
    ),
    Parameter(
        name="min_growth", type=float, default=0.25, rule=NOT_NEGATIVE,
        text="Fine-tune even without drift once the number of new rows reaches this fraction of the champion's data.",
    ),
    Parameter(
        name="drift_alpha", type=float, default=0.01, rule=PROPER_FRACTION,
        text="A difference counts as drift when its p-value is at most this.",
    ),
    Parameter(
        name="label_shift", type=float, default=0.1, rule=FRACTION,
        text="Fine-tune when the distribution of labels has moved by at least this total variation distance.",
    ),
    Parameter(
        name="large_label_shift", type=float, default=0.3, rule=FRACTION,
        text="Run a new search when the distribution of labels has moved by at least this total variation distance.",
    ),
    Parameter(
        name="feature_drift", type=float, default=0.6, rule=_AUC,
        text="Fine-tune when a classifier tells new rows from old ones with at least this AUC (0.5 is chance).",
    ),
    Parameter(
        name="large_feature_drift", type=float, default=0.8, rule=_AUC,
        text="Run a new search when a classifier tells new rows from old ones with at least this AUC.",
    ),
    Parameter(
        name="drift_images", type=int, default=500, rule=Range(low=FEWEST_DRIFT_IMAGES),
        text="Number of rows per sample in the test of feature drift.",
    ),
    Parameter(
        name="tune_epochs", type=int, default=2, rule=NOT_NEGATIVE,
        text="Epochs of fine-tuning the champion.",
    ),
    Parameter(
        name="tune_learning_rate", type=float, default=0.0003, rule=POSITIVE,
        text="Learning rate of fine-tuning the champion.",
    ),
)  # fmt: skip

IN_ADVANCED = frozenset({"validation_fraction", "test_fraction", "epochs", "seed"})
"""Fields of the first search's form that a retraining's form has no room for."""
