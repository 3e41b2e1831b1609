"""Releases of a few bytes, written by hand: graphs of one layer with the files and metadata that a release has."""

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.metadata import write_metadata
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.segmentation.assets import SegmentationAssets
from components.core.tasks.segmentation.inference import Inference
from components.export.release import checksums

SIDE = 8
PREPROCESS = Preprocess(image_size=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25))


def classifier(labels: list[str]) -> dict[str, bytes]:
    """Mean colour times random weights: images (batch, 3, 8, 8) → logits (batch, labels)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colours"]),
        helper.make_node("Gemm", ["colours", "weight"], ["logits"]),
    ]
    weight = np.random.default_rng(0).normal(size=(3, len(labels))).astype(np.float32)
    model = _model(nodes, weight, images=("batch", 3, SIDE, SIDE), logits=("batch", len(labels)))
    assets = ImageAssets(preprocess=PREPROCESS, labels=labels, temperature=1.5)
    return release_files({"model": model}, assets, task="classification")


def segmenter() -> dict[str, bytes]:
    """A random convolution 3 × 3, at any size: images (batch, 3, height, width) → logits (batch, 2, height, width)."""
    nodes = [helper.make_node("Conv", ["images", "weight"], ["logits"], pads=[1, 1, 1, 1])]
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    free = ("height", "width")
    model = _model(nodes, weight, images=("batch", 3, *free), logits=("batch", 2, *free))
    assets = SegmentationAssets(
        preprocess=Preprocess(image_size=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="fit"),
        labels=["ground", "pole"],
        palette=[(0, 0, 0), (255, 0, 0)],
        inference=Inference(mode="whole", divisor=4),
    )
    return release_files({"model": model}, assets, task="segmentation")


def release_files(graphs: dict[str, onnx.ModelProto], assets: Any, *, task: str) -> dict[str, bytes]:
    """The graphs with metadata, the assets, provenance and checksums, by file name."""
    files = dict(assets.to_files())
    for name, model in graphs.items():
        write_metadata(model, {**assets.to_metadata(), "task": task})
        files[f"{name}.onnx"] = model.SerializeToString()
    files["provenance.json"] = json.dumps({"task": task, "scheme": "float32"}).encode()
    return {**files, "SHA256SUMS": checksums(files)}


def _model(nodes: list[onnx.NodeProto], weight: np.ndarray, **shapes: tuple[int | str, ...]) -> onnx.ModelProto:
    images, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "main", [images], [logits], [numpy_helper.from_array(weight, "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
