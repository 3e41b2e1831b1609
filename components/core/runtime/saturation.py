"""Ranges of int8 weights with which an integer kernel computes the same on every x86 CPU.

Without VNNI, a CPU multiplies uint8 by int8 with an instruction (`vpmaddubsw`) that adds two neighbouring products in
16 bits and clips the sum. Activations reach 255, so the sum holds whenever two neighbouring weights of one sign add up
to at most 128, for 255 · 128 = 32,640 ≤ 32,767. A channel's scale is chosen for that: 127 stands for the larger of
its largest weight and its largest pair, and rounding adds at most a half to each of the two.

Weights of 7 bits (`reduce_range`) avoid the same, but halve the resolution of every channel. Neighbours are rarely both
at the limit, so most channels lose little here; the decision page has what was measured.
"""

import numpy as np


def unsaturated_limits(weights: np.ndarray) -> np.ndarray:
    """The value that 127 stands for in each channel, `(channels,)`.

    Args:
        weights: float, `(channels, K)`, in the order in which the kernel adds up its products along K. Any two
            neighbours may be the kernel's pair.
    """
    largest = np.abs(weights).max(axis=1, initial=0)
    for side in (np.maximum(weights, 0), np.maximum(-weights, 0)):
        pairs = side[:, :-1] + side[:, 1:]
        largest = np.maximum(largest, pairs.max(axis=1, initial=0))
    return np.asarray(largest)


def products_of_convolution(weights: np.ndarray, groups: int) -> np.ndarray:
    """The weights `(out, in / groups, *kernel)` of a convolution as `unsaturated_limits` takes them.

    onnxruntime gathers the inputs of one position after another, the channels of each side by side. A depthwise
    convolution is no matrix product, and its kernel adds in 32 bits: of its channels the largest weight is enough,
    `(out, 1)`.
    """
    out = weights.shape[0]
    if weights.shape[1] == 1 and groups == out:
        return np.abs(weights).reshape(out, -1).max(axis=1, keepdims=True)
    return np.moveaxis(weights, 1, -1).reshape(out, -1)
