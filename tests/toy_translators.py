"""Small encoder-decoders with random weights, and random sentences for them."""

from dataclasses import replace

import torch

from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.networks import EncoderDecoder

SMALL = EncoderDecoderConfig(
    source_size=19, target_size=19, dim=16, heads=4, encoder_layers=2, decoder_layers=2, encoder_ffn=24, decoder_ffn=20
)
VARIANTS = [
    replace(SMALL, decoder_cell=cell, norm=norm, tied=tied, target_size=19 if tied == "all" else 23, start=start)
    for cell, norm, tied, start in [
        ("ssru", "post", "all", None),
        ("attention", "post", "target", 4),
        ("ssru", "pre", "none", 3),
        ("attention", "pre", "all", None),
    ]
]
EOS = SMALL.eos


def network(config: EncoderDecoderConfig, seed: int = 0) -> EncoderDecoder:
    """With random weights everywhere, biases and norms too: zeros would hide a bias that is left out."""
    torch.manual_seed(seed)
    module = EncoderDecoder(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def sentences(lengths: list[int], size: int, seed: int = 0) -> torch.Tensor:
    """Random pieces, each row ended and padded with eos."""
    rows = torch.full((len(lengths), max(lengths)), EOS)
    generator = torch.Generator().manual_seed(seed)
    for row, length in zip(rows, lengths, strict=True):
        row[: length - 1] = torch.randint(1, size, (length - 1,), generator=generator)
    return rows
