"""The parameters of image classification. The groups' defaults fit the embedded demo."""

from components.core.parameters import COMMON, IMAGES, Parameter, Range

AUTO = "auto"
"""Crop as the backbone was evaluated, unless the images are smaller than the network's input."""

_OWN = (
    Parameter(
        name="resize", part="network", type=str, default=AUTO, choices=(AUTO, "squash", "crop", "letterbox"),
        text="How an image becomes square: squash (loses the aspect ratio), crop (keeps the centre) or letterbox "
        "(keeps all, with borders). auto crops as in the backbone's own evaluation, and squashes images "
        "smaller than image_size.",
    ),
    Parameter(
        name="crop_ratio", part="network", type=float, default=0.0,
        rule=Range(low=0.1, high=1, also={0: "the backbone's own"}),
        text="With crop: side of the square as a fraction of the image's shorter side. 0 takes the backbone's own "
        "ratio.",
    ),
    Parameter(
        name="temperature_scaling", part="recipe", type=bool, default=False,
        text="Calibrate the probabilities: the release divides its logits by a temperature that is fitted on "
        "validation data. Predicted classes stay the same.",
    ),
    Parameter(
        name="label_column",
        part="data",
        type=str,
        default="",
        text="Column of the table that holds the class. Empty tries common names.",
    ),
)  # fmt: skip

PARAMETERS = (*COMMON, *IMAGES, *_OWN)

COMPRESS = {"image_size": 0, "resize": "crop"}
"""Other defaults of the form that starts from a trained network: as timm and torchvision evaluate theirs. Without this
constant there is no such form."""
