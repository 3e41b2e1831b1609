"""The parameters of image classification. The groups' defaults fit the embedded demo."""

from components.core.parameters import COMMON, IMAGES, Parameter, Range

CROP_RATIO = 0.875
"""At which most networks of ImageNet were evaluated: 224 of 256 pixels."""

_OWN = (
    Parameter(
        name="resize", part="network", type=str, default="squash", choices=("squash", "crop", "letterbox"),
        text="How an image becomes square: squash (the aspect ratio is lost), crop (the centre, as most backbones were "
        "trained) or letterbox (whole, with borders).",
    ),
    Parameter(
        name="crop_ratio", part="network", type=float, default=CROP_RATIO, rule=Range(low=0.1, high=1),
        text="For resize=crop: side of the cut square as a share of the image's shorter side.",
    ),
    Parameter(
        name="temperature_scaling", part="recipe", type=bool, default=False,
        text="Fit a temperature on the validation data that the release divides its logits by, so that its "
        "probabilities fit the observed accuracy. No answer changes.",
    ),
    Parameter(
        name="label_column",
        part="data",
        type=str,
        default="",
        text="Column of the table that holds the class. Empty looks for known names.",
    ),
)  # fmt: skip

PARAMETERS = (*COMMON, *IMAGES, *_OWN)

COMPRESS = {"image_size": 0, "resize": "crop"}
"""Other defaults of the form that starts from a trained network: as timm and torchvision evaluate theirs. Without this
constant there is no such form."""
