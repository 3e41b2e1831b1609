"""The parameters of segmentation: the shared ones with defaults that fit it, and its own. Knows no torch."""

HEADS = ("fcn", "deeplabv3", "lraspp")
DEFAULT_HEAD = "lraspp"
LOSSES = ("cross_entropy", "dice", "cross_entropy+dice")
CLASS_WEIGHTS = ("none", "balanced")
