"""Preprocessing and probabilities inside a graph on images: uint8 pixels in, as an image library holds them.

What stays with the client is decoding and resizing, which ONNX has no operators for. The folded graph computes

    images = (pixels / 255 − mean) / std      uint8 (batch, H, W, 3) → float32 (batch, 3, H, W)
    probabilities = softmax(logits / T)       of a classifier, float32 (batch, classes)

with the very float32 operations, in their order, of `Preprocess.normalized`, so that the network sees the same bits. A
request has a quarter of the bytes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.runtime.sessions import open_session
from components.core.tasks.images.assets import INPUT, ImageAssets, softmax
from components.core.tasks.segmentation.assets import SegmentationAssets

if TYPE_CHECKING:
    import onnxruntime as ort

PIXELS, PROBABILITIES = "pixels", "probabilities"

TOLERANCE = 1e-5
"""Largest difference of a probability, or of a logit relative to the largest one, to the graph that was released."""

_LOGITS = "logits"


class FoldingError(RuntimeError):
    """The folded graph does not compute what the released one does."""


def folded(bundle: OnnxBundle) -> bytes:
    """The bundle's graph with its preprocessing inside, compared with the released one at batch 1 and 3.

    A classifier gives `probabilities`. A segmentation network still gives `logits`, since its client enlarges these
    before it compares them.

    Raises:
        UserError: the bundle is not of one graph on images, or its images keep a size of their own and are padded with
            the mean, which is no uint8.
        FoldingError: the two graphs disagree.
    """
    assets = bundle.assets
    if len(bundle.graphs) != 1 or not isinstance(assets, ImageAssets):
        raise UserError(f"{bundle.task.title} has no preprocessing that could be folded into its graph")
    if isinstance(assets, SegmentationAssets) and assets.inference.mode == "whole":
        raise UserError(
            "images that are taken whole are padded with the mean colour, which is no uint8: the preprocessing of this "
            "release cannot be folded into its graph"
        )
    (path,) = bundle.graphs.values()
    model = _with_pixels(onnx.load(path), assets)
    if not isinstance(assets, SegmentationAssets):
        _add_probabilities(model, assets)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    _compare(open_session(path), open_session(data), assets)
    return data


def _with_pixels(model: onnx.ModelProto, assets: ImageAssets) -> onnx.ModelProto:
    """The model, in place, with `pixels` for its input, normalised into the value that was its input."""
    graph = model.graph
    (images,) = (value for value in graph.input if value.name == INPUT)
    batch, _, height, width = images.type.tensor_type.shape.dim
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [_size(batch), _size(height), _size(width), 3])
    constants = {
        "pixels.scale": np.float32(255),
        "pixels.mean": np.asarray(assets.preprocess.mean, dtype=np.float32).reshape(3, 1, 1),
        "pixels.std": np.asarray(assets.preprocess.std, dtype=np.float32).reshape(3, 1, 1),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    # Transposed first: a byte per value is moved instead of four.
    nodes = [
        helper.make_node("Transpose", [PIXELS], ["pixels.planes"], "pixels_0", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pixels.planes"], ["pixels.values"], "pixels_1", to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels.values", "pixels.scale"], ["pixels.fractions"], "pixels_2"),
        helper.make_node("Sub", ["pixels.fractions", "pixels.mean"], ["pixels.centred"], "pixels_3"),
        helper.make_node("Div", ["pixels.centred", "pixels.std"], [INPUT], "pixels_4"),
    ]
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    images.CopyFrom(pixels)
    return model


def _add_probabilities(model: onnx.ModelProto, assets: ImageAssets) -> None:
    """`probabilities` in place of the output `logits`, in place."""
    graph = model.graph
    (logits,) = (value for value in graph.output if value.name == _LOGITS)
    scaled = _LOGITS
    if assets.temperature is not None:
        graph.initializer.append(numpy_helper.from_array(np.asarray(assets.temperature, np.float32), "temperature"))
        scaled = "logits.scaled"
        graph.node.append(helper.make_node("Div", [_LOGITS, "temperature"], [scaled], "probabilities_0"))
    graph.node.append(helper.make_node("Softmax", [scaled], [PROBABILITIES], "probabilities_1", axis=-1))
    logits.name = PROBABILITIES


def _size(dimension: Any) -> int | str:
    return dimension.dim_param or dimension.dim_value


def _compare(released: "ort.InferenceSession", changed: "ort.InferenceSession", assets: ImageAssets) -> None:
    side = assets.preprocess.image_size
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        pixels = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
        pixels[0, ..., 0] = 255  # the ends of the scale
        (expected,) = released.run([_LOGITS], {INPUT: assets.preprocess.normalized(pixels)})
        (found,) = changed.run(None, {PIXELS: pixels})
        if changed.get_outputs()[0].name == PROBABILITIES:
            expected, scale = softmax(expected, assets.temperature), 1.0
        else:
            scale = float(np.abs(expected).max()) or 1.0
        difference = float(np.abs(found - expected).max()) / scale
        if not difference <= TOLERANCE:
            raise FoldingError(f"with folded preprocessing the outputs differ by {difference:.2g} at batch {batch}")
