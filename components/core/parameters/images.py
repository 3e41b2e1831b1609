"""Parameters of tasks that look at images."""

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import LIMIT_FROM_ZERO, NO_LIMIT, NOT_NEGATIVE, Range

LARGEST_IMAGE_MB = 1000

IMAGES = (
    Parameter(
        name="image_size", field="search_image_size", type=int, default=64,
        rule=Range(low=16, high=2048, also={0: "each backbone's own size"}),
        text="Side of the model's input in pixels. 0 takes each backbone's own size.",
    ),
    Parameter(
        name="student_size", type=int, default=0, rule=Range(low=16, high=2048, also={0: "the teacher's size"}),
        text="Side of the compressed model's input in pixels, at most image_size. 0 is the same as image_size.",
    ),
    Parameter(
        name="max_image_mb", type=float, default=20.0, rule=Range(low=0, high=LARGEST_IMAGE_MB, above=True),
        text="Largest image file to use, in megabytes; larger ones are quarantined.",
    ),
    Parameter(
        name="class_weights", part="training", type=str, default="none", choices=("none", "balanced"),
        text="Class weights in the cross-entropy loss: none weights all classes equally; balanced gives rare classes "
        "more weight, by the inverse square root of their share.",
    ),
    Parameter(
        name="int8_max_drop", part="recipe", type=float, default=NO_LIMIT, rule=LIMIT_FROM_ZERO,
        text="Maximum drop of the int8 model against its float32 network, in points on validation data. The most "
        "sensitive layers stay float until the limit holds. -1 is no limit.",
    ),
    Parameter(
        name="corruption_rows", type=int, default=0, rule=NOT_NEGATIVE,
        text="Robustness: compare release and baseline on this many test images with corrupted copies too (noise, "
        "blur, brightness, contrast, pixelate, JPEG; three severities each). 200 are enough to see a loss of a few "
        "points. 0 is off.",
    ),
    Parameter(
        name="image_column", part="data", type=str, default="",
        text="Column of the table that holds the images or their paths. Empty tries common names.",
    ),
    Parameter(
        name="group_column", part="data", type=str, default="",
        text="Column of the table that keeps rows together: rows with the same value (one patient, one scene) go to "
        "the same split. Empty for none.",
    ),
)  # fmt: skip
