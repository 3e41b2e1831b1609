"""How the images of ImageNet were brought to a network's size when its weights were evaluated."""

CROP_RATIO = 0.875
"""Side of the cut square against the shorter side, of most networks: 224 of 256 pixels."""

INTERPOLATIONS = ("bilinear", "bicubic")
"""Filters of Pillow, each widened when an image is shrunk (antialiased)."""
