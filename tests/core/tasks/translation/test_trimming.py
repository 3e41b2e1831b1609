import io
from collections import Counter
from dataclasses import replace

import pytest
import torch
from sentencepiece import SentencePieceTrainer
from toy_translators import EOS, VARIANTS, network, sentences

from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.sentencepiece_model import read_pieces, with_pieces
from components.core.tasks.translation.trimming import (
    KeptPieces,
    choose_pieces,
    count_pieces,
    trim_network,
    trim_vocabulary,
    vocabulary_loss,
)
from components.core.tasks.translation.vocabulary import (
    NumberedVocabulary,
    SentencePieceVocabulary,
    SeparateVocabularies,
    read_vocabulary,
    train_vocabulary,
)

ENGLISH = ("open", "the", "file", "save", "row", "cell")
PORTUGUESE = ("abra", "o", "arquivo", "salve", "linha", "célula")
PAIRS = [(f"{a} {b}", f"{x} {y}") for a, x in zip(ENGLISH, PORTUGUESE, strict=True) for b, y in
         zip(ENGLISH, PORTUGUESE, strict=True)]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary() -> SentencePieceVocabulary:
    """Of text far wider than the domain: most of its pieces are of no use there."""
    stems = ("anthropo", "metró", "window", "janela", "salva", "cellu", *ENGLISH, *PORTUGUESE)
    endings = ("", "logy", "pole", "ing", "dor", "lar", "name", "ção", "ment", "mente")
    texts = [f"{first}{last}" for first in stems for last in endings]
    return train_vocabulary([*texts, *(text for pair in PAIRS for text in pair)], size=330)


def trimmed(vocabulary: SentencePieceVocabulary, coverage: float = 1.0) -> tuple[KeptPieces, SeparateVocabularies]:
    kept = choose_pieces(vocabulary, *count_pieces(vocabulary, PAIRS), coverage=coverage)
    result = trim_vocabulary(vocabulary, kept)
    assert isinstance(result, SeparateVocabularies)
    return kept, result


def test_the_domain_is_cut_into_the_same_pieces_by_a_smaller_vocabulary(vocabulary: SentencePieceVocabulary) -> None:
    kept, small = trimmed(vocabulary)
    assert small.source_size == len(kept.source) < vocabulary.source_size
    assert small.target_size == len(kept.target) < vocabulary.target_size
    assert small.eos == vocabulary.eos
    for source, target in PAIRS:
        assert [kept.source[piece] for piece in small.encode(source)] == vocabulary.encode(source)
        assert [kept.target[piece] for piece in small.encode_target(target)] == vocabulary.encode_target(target)
        assert small.decode(small.encode_target(target)) == target
    assert read_vocabulary(small.to_files()) == small


def test_every_text_stays_reachable_on_both_sides(vocabulary: SentencePieceVocabulary) -> None:
    _, small = trimmed(vocabulary, coverage=0.3)
    for text in ("anthropology", "metrópole", "漢字 €5", "xyzzy"):
        assert small.decode(small.encode_target(text)) == text
        unknown = [piece for piece in small.encode(text) if small._source.is_unknown(piece)]
        assert not unknown, "bytes can write it"


def test_less_coverage_keeps_the_fewest_and_most_frequent_pieces(vocabulary: SentencePieceVocabulary) -> None:
    pieces = read_pieces(vocabulary.model)
    basic = {number for number, piece in enumerate(pieces) if piece.is_basic}
    others = [number for number in range(len(pieces)) if number not in basic]
    first, second, third, fourth = others[:4]
    counts = {first: 10, second: 60, third: 5, fourth: 25, max(basic): 100}
    for coverage, wanted in [(1, others[:4]), (0.97, [first, second, fourth]), (0.8, [second]), (0.5, [])]:
        kept = choose_pieces(vocabulary, counts, {first: 1}, coverage=coverage)
        assert set(kept.source) - basic == set(wanted)
        assert basic <= set(kept.source)
        assert set(kept.target) - basic == {first}, "each side counts for itself"


def test_the_likeliest_other_pieces_fill_a_side_up(vocabulary: SentencePieceVocabulary) -> None:
    pieces = read_pieces(vocabulary.model)
    counts = count_pieces(vocabulary, PAIRS)
    small = choose_pieces(vocabulary, *counts, coverage=1.0)
    least = len(small.target) + 12
    assert len(small.source) < least < len(pieces)
    filled = choose_pieces(vocabulary, *counts, coverage=1.0, least=least)
    for before, after in ((small.source, filled.source), (small.target, filled.target)):
        assert len(after) == least
        added, left = set(after) - set(before), set(range(len(pieces))) - set(after)
        assert set(before) < set(after)
        assert min(pieces[number].score for number in added) >= max(pieces[number].score for number in left)
    assert choose_pieces(vocabulary, *counts, coverage=1.0, least=5) == small
    everything = choose_pieces(vocabulary, *counts, coverage=0.5, least=10**6)
    assert set(everything.source) == set(everything.target) == set(range(len(pieces)))


@pytest.mark.parametrize("coverage", [0.0, 1.5])
def test_a_coverage_that_cannot_be_is_refused(vocabulary: SentencePieceVocabulary, coverage: float) -> None:
    with pytest.raises(ValueError, match=rf"coverage must be in \(0, 1\], got {coverage}"):
        choose_pieces(vocabulary, Counter(), Counter(), coverage=coverage)


def test_what_is_lost_is_counted(vocabulary: SentencePieceVocabulary) -> None:
    _, small = trimmed(vocabulary)
    inside = vocabulary_loss(vocabulary, small, [source for source, _ in PAIRS], side="source")
    assert inside.cut_otherwise == 0
    assert inside.pieces_before == inside.pieces_after
    outside = vocabulary_loss(vocabulary, small, ["open the file", "anthropology"], side="source")
    assert (outside.sentences, outside.cut_otherwise) == (2, 1)
    wanted = sum(len(small.encode(text)) for text in ("open the file", "anthropology"))
    assert outside.pieces_after == wanted > outside.pieces_before
    assert outside.unknown_after == outside.unknown_before == 0


def test_characters_without_a_piece_are_counted_as_unknown() -> None:
    """Without bytes, and after the only piece with the character is gone, a character is lost."""
    buffer = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH * 5), model_writer=buffer, vocab_size=18, eos_id=0, unk_id=1, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    whole = SentencePieceVocabulary(model=buffer.getvalue())
    fewer = [number for number, piece in enumerate(read_pieces(whole.model)) if "w" not in piece.text]
    trimmed = SentencePieceVocabulary(model=with_pieces(whole.model, fewer))
    loss = vocabulary_loss(whole, trimmed, ["row"], side="target")
    assert (loss.unknown_before, loss.unknown_after) == (0, 1)


def test_pieces_that_the_model_does_not_have_cannot_be_kept(vocabulary: SentencePieceVocabulary) -> None:
    for kept in ([0, 0], [0, 330]):
        with pytest.raises(ValueError, match="different numbers below 330"):
            with_pieces(vocabulary.model, kept)
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        read_pieces(b"\x0a\xff")


def numbered(vocabulary: SentencePieceVocabulary) -> NumberedVocabulary:
    """As OPUS-MT has it: one numbering in another order, with padding last and a language code."""
    texts = [piece.text for piece in read_pieces(vocabulary.model)][2:]
    names = ["</s>", *reversed(texts), "<unk>", ">>por<<", "<pad>"]
    return NumberedVocabulary(
        source_model=vocabulary.model,
        target_model=vocabulary.model,
        numbers={name: number for number, name in enumerate(names)},
    )


def test_one_numbering_for_both_sides_stays_one(vocabulary: SentencePieceVocabulary) -> None:
    whole = numbered(vocabulary)
    kept = choose_pieces(whole, *count_pieces(whole, PAIRS), coverage=1.0)
    small = trim_vocabulary(whole, kept)
    assert kept.source == kept.target
    assert isinstance(small, NumberedVocabulary)
    assert small.source_size < whole.source_size
    assert {"</s>", "<unk>", "<pad>", ">>por<<"} < set(small.numbers)
    for source, target in PAIRS:
        assert [kept.source[piece] for piece in small.encode(f">>por<< {source}")] == whole.encode(f">>por<< {source}")
        assert small.decode(small.encode_target(target)) == target
    rest = small.encode("anthropology")
    assert small.numbers["<unk>"] not in rest, "the SentencePiece models cut text into pieces that have numbers"


@pytest.mark.parametrize("config", VARIANTS, ids=lambda config: f"{config.decoder_cell}-{config.tied}")
def test_a_trimmed_network_says_what_the_whole_one_says_of_the_kept_pieces(config: EncoderDecoderConfig) -> None:
    config = replace(config, never=(5,))
    whole = network(config)
    kept = KeptPieces(source=(0, 2, 3, 7, 11, 18), target=(0, 1, 3, 4, 5, 9, 12, 17))
    small = trim_network(whole, kept)
    source, target = sentences([5, 3, 6], len(kept.source)), sentences([4, 7, 3], len(kept.target), seed=1)
    old_source, old_target = torch.tensor(kept.source)[source], torch.tensor(kept.target)[target]
    with torch.no_grad():
        found, wanted = small(source, target), whole(old_source, old_target)[..., list(kept.target)]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert small.config.source_size == 6
    assert small.config.target_size == 8
    assert small.config.never == (4,)
    assert small.config.start == (None if config.start is None else kept.target.index(config.start))
    assert small.config.num_parameters == sum(parameter.numel() for parameter in small.parameters())


def test_pieces_that_both_sides_keep_alike_stay_one_matrix() -> None:
    small = trim_network(network(VARIANTS[0]), KeptPieces(source=(0, 3, 4, 9), target=(0, 3, 4, 9)))
    assert small.config.tied == "all"
    assert small.target_embedding is None


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (KeptPieces(source=(0, 1), target=(1, 2, 3, 4)), "eos is piece 0, which is not kept"),
        (KeptPieces(source=(0, 1), target=(0, 1, 2)), "start is piece 4, which is not kept"),
        (KeptPieces(source=(1, 0), target=(0, 4)), "the same number on both sides"),
    ],
)
def test_a_network_keeps_what_it_cannot_do_without(kept: KeptPieces, said: str) -> None:
    assert EOS == 0
    with pytest.raises(ValueError, match=said):
        trim_network(network(VARIANTS[1]), kept)
