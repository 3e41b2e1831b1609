"""Sentence vectors, and translations by the torch network itself: for training, beside the loss."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from components.core.tasks.translation.networks import EncoderDecoder, padding_mask
from components.core.tasks.translation.serving import TorchDecoder, translate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.core.tasks.translation.assets import TranslationAssets


def network_of(module: "nn.Module") -> EncoderDecoder:
    """The module, which is an `EncoderDecoder`."""
    return cast(EncoderDecoder, module)


def embeddings(module: "nn.Module") -> "Callable[..., Tensor]":
    """`compute(source, …)` → `(N, dim)`: the mean of the encoder's states over each source's pieces, eos included."""
    network = network_of(module)

    def compute(source: "Tensor", *_: "Tensor") -> "Tensor":
        states, _mask = network.encode(source)
        real = (padding_mask(source, network.config.eos)[:, 0, 0] == 0).to(states.dtype).unsqueeze(-1)
        return (states * real).sum(dim=1) / real.sum(dim=1)

    return compute


def torch_translations(module: "nn.Module", source: np.ndarray, assets: "TranslationAssets") -> list[str]:
    """The translation of each source `(N, S)` by the torch network, decoded as a release does."""
    with torch.inference_mode():
        found = translate(TorchDecoder(network_of(module)), source, **assets.decoding)
    return [assets.vocabulary.decode(pieces) for pieces in found]
