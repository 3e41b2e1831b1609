"""Which convolutions at the front of a network stay in float."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.float_front import float_front

STEM, DEPTHWISE, PROJECTION = (8, 3, 1), (8, 1, 8), (4, 8, 1)
EXPANSION, ORDINARY = (24, 4, 1), (8, 8, 1)
"""Output channels, input channels per group, groups."""


def network(*layers: tuple[int, int, int] | str, second_reader: str = "", inputs: int = 1) -> onnx.ModelProto:
    """A chain of convolutions and operators, named by their place; `second_reader` is a tensor that is also output."""
    nodes, constants, tensor = [], [], "images"
    for place, layer in enumerate(layers):
        output = f"t{place}"
        if isinstance(layer, str):
            nodes.append(helper.make_node(layer, [tensor], [output], name=f"{place} {layer}"))
        else:
            channels, per_group, groups = layer
            weight = np.zeros((channels, per_group, 1, 1), np.float32)
            constants.append(numpy_helper.from_array(weight, f"w{place}"))
            nodes.append(helper.make_node("Conv", [tensor, f"w{place}"], [output], name=f"{place} Conv", group=groups))
        tensor = output
    if second_reader:
        nodes.append(helper.make_node("Identity", [second_reader], ["copy"], name="copy"))
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 4, 4])
        for name in ["images", "more"][:inputs]
    ]
    made = helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "main", given, [made], constants))


def test_a_mobile_networks_front_ends_with_the_projection() -> None:
    model = network(STEM, "Clip", DEPTHWISE, "Clip", PROJECTION, EXPANSION, "Clip")
    assert float_front(model) == ["0 Conv", "1 Clip", "2 Conv", "3 Clip", "4 Conv"]


def test_a_layer_behind_that_does_not_shrink_is_integer() -> None:
    assert float_front(network(STEM, DEPTHWISE, "Relu", ORDINARY, EXPANSION)) == ["0 Conv", "1 Conv", "2 Relu"]


@pytest.mark.parametrize(
    "model",
    [
        network(STEM, "Relu", ORDINARY, ORDINARY),
        network(STEM, "Relu", "MaxPool", ORDINARY),
        network(ORDINARY, DEPTHWISE, PROJECTION, EXPANSION),
        network(DEPTHWISE, "Relu", ORDINARY),
        network(STEM, "Relu", DEPTHWISE, PROJECTION, EXPANSION, second_reader="t1"),
        network(STEM, DEPTHWISE, PROJECTION, EXPANSION, inputs=2),
        network("Flatten", STEM, DEPTHWISE, PROJECTION, EXPANSION),
        network(STEM, DEPTHWISE),
        network(STEM, DEPTHWISE, PROJECTION),
    ],
    ids=[
        "no depthwise", "pooled", "no stem", "depthwise on the image", "two readers of the stem", "two inputs",
        "not on the image", "nothing behind", "nothing behind the projection",
    ],
)  # fmt: skip
def test_other_networks_have_no_such_front(model: onnx.ModelProto) -> None:
    assert float_front(model) == []


def test_the_front_ends_where_a_depthwise_output_is_read_twice() -> None:
    model = network(STEM, DEPTHWISE, PROJECTION, EXPANSION, second_reader="t1")
    assert float_front(model) == ["0 Conv", "1 Conv"]
