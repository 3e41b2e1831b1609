"""Vocabulary trimming: only the pieces that the domain's text uses stay, and all that any text can be written with.

Embeddings and the output layer of a small translator are half of its parameters, and the output layer most of the time
of a step; a domain uses a fifth of the pieces. Each side gets a vocabulary of its own, so that no piece is embedded
that its side never uses. Ushio et al. 2023, arXiv:2305.15020.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.sentencepiece_model import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    Piece,
    read_pieces,
    with_pieces,
)
from components.core.tasks.translation.vocabulary import (
    EOS,
    PADDING,
    NumberedVocabulary,
    SentencePieceVocabulary,
    SeparateVocabularies,
    Vocabulary,
)
from components.core.tasks.translation.vocabulary import UNKNOWN as UNKNOWN_TEXT

SOURCE, TARGET = "source", "target"
_SPECIAL = re.compile(r">>[^<>\s]+<<|<0x[0-9A-F]{2}>")

Counts = Mapping[int, int]
"""Occurrences of pieces, by number."""


@dataclass(frozen=True, kw_only=True)
class KeptPieces:
    """Numbers of the pieces that stay on each side, in the order of their new numbers."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def count_pieces(vocabulary: Vocabulary, pairs: Iterable[tuple[str, str]]) -> tuple[Counter[int], Counter[int]]:
    """How often each piece occurs in the sources and in the targets."""
    source: Counter[int] = Counter()
    target: Counter[int] = Counter()
    for sentence, translation in pairs:
        source.update(vocabulary.encode(sentence))
        target.update(vocabulary.encode_target(translation))
    return source, target


def choose_pieces(
    vocabulary: Vocabulary, source: Counts, target: Counts, *, coverage: float, least: int = 0
) -> KeptPieces:
    """The basic pieces, and the fewest others that make up the share `coverage` of the occurrences of each side.

    Further ones fill each side up to `least` pieces: those with the highest score in the vocabulary, which stands for
    their frequency in the text that it was made of. They keep words whole that new text of the domain may bring.

    Basic is what any text needs: special pieces, bytes, single characters. They have the first numbers, so that eos is
    the same piece on both sides. Where one numbering serves both sides (OPUS-MT), both keep what either needs.

    Args:
        vocabulary: the whole one.
        source, target: of `count_pieces`.
        coverage: in (0, 1]; 1 keeps every piece that occurs.
        least: pieces of each side, at least, where the whole vocabulary has so many.

    Raises:
        ValueError: coverage out of range.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"vocabulary coverage must be in (0, 1], got {coverage}")
    if isinstance(vocabulary, NumberedVocabulary):
        both = _chosen(pieces_of(vocabulary, SOURCE), Counter(dict(source)) + Counter(dict(target)), coverage, least)
        return KeptPieces(source=both, target=both)
    return KeptPieces(
        source=_chosen(pieces_of(vocabulary, SOURCE), source, coverage, least),
        target=_chosen(pieces_of(vocabulary, TARGET), target, coverage, least),
    )


def _chosen(pieces: Sequence[Piece], counts: Counts, coverage: float, least: int) -> tuple[int, ...]:
    special = [number for number, piece in enumerate(pieces) if piece.kind != NORMAL]
    kept = {number for number, piece in enumerate(pieces) if piece.is_basic}
    needed = coverage * sum(counts.values())
    found = sum(counts.get(number, 0) for number in kept)
    for number in sorted(counts, key=lambda number: (-counts[number], number)):
        if found >= needed:
            break
        if number not in kept:
            kept.add(number)
            found += counts[number]
    likely = sorted(set(range(len(pieces))) - kept, key=lambda number: (-pieces[number].score, number))
    kept.update(likely[: max(0, least - len(kept))])
    return (*special, *sorted(kept.difference(special)))


def trim_vocabulary(vocabulary: Vocabulary, kept: KeptPieces) -> Vocabulary:
    """The vocabulary with the kept pieces alone, numbered in their order."""
    if isinstance(vocabulary, NumberedVocabulary):
        by_number = {number: piece for piece, number in vocabulary.numbers.items()}
        numbers = {by_number[old]: new for new, old in enumerate(kept.source)}
        return NumberedVocabulary(
            source_model=_with_texts(vocabulary.source_model, numbers),
            target_model=_with_texts(vocabulary.target_model, numbers),
            numbers=numbers,
        )
    source_model, target_model = _models(vocabulary)
    return SeparateVocabularies(
        source_model=with_pieces(source_model, kept.source), target_model=with_pieces(target_model, kept.target)
    )


def trim_network(network: EncoderDecoder, kept: KeptPieces) -> EncoderDecoder:
    """A network with the kept pieces' rows of embeddings and output layer; the one given is left alone.

    Its logits are those of the whole network at the kept target pieces. One embedding for everything becomes one per
    side, unless both sides keep the same pieces.

    Raises:
        ValueError: a piece that the network needs (eos, start) is not kept, or eos has two numbers.
    """
    config = network.config
    same = kept.source == kept.target
    for name, piece in (("eos", config.eos), ("start", config.start)):
        if piece is not None and piece not in kept.target:
            raise ValueError(f"{name} is piece {piece}, which is not kept")
    eos = kept.target.index(config.eos)
    if config.eos not in kept.source or kept.source.index(config.eos) != eos:
        raise ValueError("eos must have the same number on both sides")
    trimmed = EncoderDecoder(
        replace(
            config,
            source_size=len(kept.source),
            target_size=len(kept.target),
            tied="target" if config.tied == "all" and not same else config.tied,
            eos=eos,
            start=None if config.start is None else kept.target.index(config.start),
            never=tuple(kept.target.index(piece) for piece in config.never if piece in kept.target),
        )
    )
    state = dict(network.state_dict())
    source = torch.tensor(kept.source, device=network.output_bias.device)
    target = torch.tensor(kept.target, device=network.output_bias.device)
    target_embedding = state.get("target_embedding.weight", state["source_embedding.weight"])
    rows: dict[str, Tensor] = {
        "source_embedding.weight": state["source_embedding.weight"][source],
        "output_bias": state["output_bias"][target],
    }
    if trimmed.target_embedding is not None:
        rows["target_embedding.weight"] = target_embedding[target]
    if trimmed.output is not None:
        rows["output.weight"] = state["output.weight"][target]
    trimmed.load_state_dict({**state, **rows})
    return trimmed.train(network.training)


@dataclass(frozen=True, kw_only=True)
class VocabularyLoss:
    """Effect of trimming on the sentences of one side.

    Attributes:
        sentences: how many were looked at.
        cut_otherwise: sentences that are now made of other pieces.
        pieces_before, pieces_after: of all sentences together.
        unknown_before, unknown_after: pieces among them that stand for characters without a piece.
    """

    sentences: int
    cut_otherwise: int
    pieces_before: int
    pieces_after: int
    unknown_before: int
    unknown_after: int


def vocabulary_loss(before: Vocabulary, after: Vocabulary, sentences: Sequence[str], *, side: str) -> VocabularyLoss:
    """Counts over sentences of the `side` "source" or "target"."""
    cut, unknown = [], []
    for vocabulary in (before, after):
        pieces = pieces_of(vocabulary, side)
        encode = vocabulary.encode if side == SOURCE else vocabulary.encode_target
        cut.append([[pieces[number].text for number in encode(sentence)] for sentence in sentences])
        unknown.append(next(piece.text for piece in pieces if piece.kind == UNKNOWN))
    return VocabularyLoss(
        sentences=len(sentences),
        cut_otherwise=sum(old != new for old, new in zip(*cut, strict=True)),
        pieces_before=sum(map(len, cut[0])),
        pieces_after=sum(map(len, cut[1])),
        unknown_before=sum(row.count(unknown[0]) for row in cut[0]),
        unknown_after=sum(row.count(unknown[1]) for row in cut[1]),
    )


def pieces_of(vocabulary: Vocabulary, side: str) -> list[Piece]:
    """Every piece of the `side` "source" or "target", by number."""
    if not isinstance(vocabulary, NumberedVocabulary):
        return read_pieces(_models(vocabulary)[side == TARGET])
    pieces = [Piece(text=text, score=0.0, kind=_kind(text)) for text in vocabulary.numbers]
    return [piece for _, piece in sorted(zip(vocabulary.numbers.values(), pieces, strict=True), key=lambda row: row[0])]


def _kind(text: str) -> int:
    """Of a piece that only its text tells: OPUS-MT's numbering has no kinds."""
    if text == UNKNOWN_TEXT:
        return UNKNOWN
    return CONTROL if text in (EOS, PADDING) or _SPECIAL.fullmatch(text) else NORMAL


def _with_texts(model: bytes, texts: Mapping[str, int]) -> bytes:
    """The model with its special pieces, and those of the others that `texts` has."""
    pieces = read_pieces(model)
    return with_pieces(model, [n for n, piece in enumerate(pieces) if piece.kind != NORMAL or piece.text in texts])


def _models(vocabulary: Vocabulary) -> tuple[bytes, bytes]:
    """The SentencePiece model of each side."""
    if isinstance(vocabulary, SentencePieceVocabulary):
        return vocabulary.model, vocabulary.model
    assert isinstance(vocabulary, SeparateVocabularies), type(vocabulary).__name__
    return vocabulary.source_model, vocabulary.target_model
