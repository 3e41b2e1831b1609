"""Which convolutions at the front of a network stay in float: those to which integers give no speed.

Integer kernels multiply four input channels at once. A stem reads three and a depthwise convolution one, both at the
largest resolution; float kernels are as fast there and need no quantized image. components/quantize/README.md has what
was measured: of networks without a depthwise convolution at the front, it made some slower.
"""

import onnx

LANES = 4
"""Channels that one integer instruction of x86 and ARM multiplies and adds up."""

_ACTIVATIONS = {"Clip", "HardSwish", "LeakyRelu", "Relu", "Sigmoid"}


def float_front(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that stay in float, and of the activations behind them, in order.

    The chain begins at the network's input: a stem of fewer than `LANES` input channels, depthwise convolutions, and
    the one behind them if it gives fewer channels than it takes, because what is quantized behind it is then smaller.

    Args:
        model: float32; its nodes have names.

    Returns:
        nothing if the network does not begin with a stem and a depthwise convolution, or is nothing else.
    """
    constants = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        return []
    chain: list[str] = []
    depthwise, tensor = False, inputs[0]
    while len(readers := [node for node in model.graph.node if tensor in node.input]) == 1:
        (node,) = readers
        tensor = node.output[0]
        if node.op_type in _ACTIVATIONS and chain:
            chain.append(node.name)
            continue
        if node.op_type != "Conv" or node.input[1] not in constants:
            return chain if depthwise else []
        channels, per_group = constants[node.input[1]][:2]
        if per_group < LANES:
            depthwise = bool(chain) and per_group == 1
            chain.append(node.name)
        elif depthwise and channels < per_group:
            return [*chain, node.name] if any(tensor in other.input for other in model.graph.node) else []
        else:
            return chain if depthwise else []
    return chain if depthwise and readers else []
