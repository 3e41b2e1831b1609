"""Image names that the compiled pipeline carries; one role an image (see images/).

The names are without a registry on purpose: a cluster overrides them with digests of its own mirror.
"""

BASE_IMAGE = "python:3.11-slim"

DATA_IMAGE = "trimtab/data:0.1.0"
"""Data preparation, checks and reports: no torch."""

TRAIN_IMAGE = "trimtab/train:0.1.0"
"""Everything that trains, converts or measures: torch, timm, torch-pruning, onnx, onnxruntime."""

USER = GROUP = 10001
"""Who a stage is in a pod, never root. The images name the user themselves, in the group 0."""
