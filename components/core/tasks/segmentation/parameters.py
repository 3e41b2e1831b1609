"""The parameters of segmentation: the shared ones with defaults that fit its demo, and its own. Knows no torch."""

from components.core.parameters import COMMON, IMAGES, Parameter, Range, with_defaults

HEADS = ("fcn", "deeplabv3", "lraspp")
DEFAULT_HEAD = "lraspp"
LOSSES = ("cross_entropy", "dice", "cross_entropy+dice")
DISTILLATIONS = ("pixel", "channel")
INFERENCES = ("resize", "sliding", "whole")

_SCALE = Range(low=0.1, high=10)

_OWN = (
    Parameter(
        name="ignore_index", part="data", type=int, default=255, rule=Range(low=-1, high=65535),
        text="Mask value of pixels to ignore. -1 for none.",
    ),
    Parameter(
        name="mask_column", part="data", type=str, default="",
        text="Column of the table that holds the masks or their paths. Empty tries common names.",
    ),
    Parameter(
        name="group_folders", part="data", type=bool, default=False,
        text="Keep all images of one folder below images/ in the same split.",
    ),
    Parameter(
        name="classes_file", part="data", type=str, default="",
        text="File with class names and colours, a path or an s3:// URI. Empty takes the one beside the data.",
    ),
    Parameter(
        name="heads", makes_network=True, part="network", type=list[str], default=[DEFAULT_HEAD], choices=HEADS,
        text="Decoders to try on every backbone: fcn, deeplabv3 or lraspp.",
    ),
    Parameter(
        name="inference", part="network", type=str, default=INFERENCES[0], choices=INFERENCES,
        text="What happens to images of another size than image_size: resize shrinks larger ones to fit; sliding runs "
        "the network on windows of image_size and averages the logits where windows overlap; whole runs it on every "
        "image at its own size, with dynamic height and width in the graph.",
    ),
    Parameter(
        name="loss", part="training", type=str, default="cross_entropy", choices=LOSSES,
        text="Loss per pixel: cross_entropy, dice, or both added (cross_entropy+dice).",
    ),
    Parameter(
        name="auxiliary_weight", makes_network=True, part="training", type=float, default=0.4,
        rule=Range(low=0, high=10),
        text="Weight of an auxiliary head's loss while the network is fine-tuned. 0 trains without that head.",
    ),
    Parameter(
        name="distillation", part="distillation", type=str, default="channel", choices=DISTILLATIONS,
        text="What the student learns from the teacher's logits: the classes of each pixel (pixel), or where in the "
        "image each class is (channel).",
    ),
    Parameter(
        name="smallest_scale", part="training", type=float, default=0.75, rule=_SCALE,
        text="Training images are zoomed by a random factor; this is its minimum.",
    ),
    Parameter(
        name="largest_scale", part="training", type=float, default=1.5, rule=_SCALE,
        text="Training images are zoomed by a random factor; this is its maximum.",
    ),
    Parameter(
        name="colour_jitter", part="training", type=float, default=0.2, rule=Range(low=0, high=0.9),
        text="Maximum random change of brightness, contrast and saturation of training images, as a fraction.",
    ),
)  # fmt: skip

PARAMETERS = (
    *with_defaults(
        (*COMMON, *IMAGES),
        image_size=96, batch_size=32, power=0.9, epochs=6, head_epochs=3, distill_epochs=8, learning_rate=0.002,
        distill_learning_rate=0.002, prune_targets=[0.65, 0.5], backbones=["efficientnet_lite0"], layer_decay=1.0,
        weight_decay=0.01,
    ),
    *_OWN,
)  # fmt: skip

COMPRESS = {"image_size": 0}
"""Other defaults of the form that starts from a trained network; without this constant there is no such form."""
