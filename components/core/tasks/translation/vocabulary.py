"""Vocabularies: from a sentence to the numbers of its pieces, and back.

Three kinds: SentencePiece's own numbers (Marian's students, and models of our own), one such model per side (what
`trimming` makes of the first), and pieces of two SentencePiece models that a JSON file numbers (OPUS-MT). All are bytes
in, and raise ValueError in one line.
"""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from components.core.json_documents import parse_json

MAX_PIECES = 512
"""Pieces of a sentence that are read; a longer one is cut, and says so by its length."""

EOS, UNKNOWN, PADDING = "</s>", "<unk>", "<pad>"
_LANGUAGE = re.compile(r"^(>>[^<>\s]+<<)\s*")


class Vocabulary(Protocol):
    """Of one direction: `encode` takes source sentences, `encode_target` references, `decode` gives translations."""

    @property
    def source_size(self) -> int:
        """Pieces of the source side."""

    @property
    def target_size(self) -> int:
        """Pieces of the target side."""

    @property
    def eos(self) -> int:
        """The piece that ends a sentence."""

    def encode(self, sentence: str) -> list[int]:
        """Pieces of a source sentence, with eos; at most `MAX_PIECES`."""

    def encode_target(self, sentence: str) -> list[int]:
        """Pieces of a target sentence, with eos; at most `MAX_PIECES`."""

    def decode(self, pieces: Sequence[int]) -> str:
        """The sentence of target pieces; what follows eos is left out."""

    def to_files(self) -> dict[str, bytes]:
        """The files it was made of, by name."""


def _processor(data: bytes, name: str) -> Any:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{name} is not a SentencePiece model") from error
    return processor


@dataclass(frozen=True, kw_only=True)
class SentencePieceVocabulary:
    """One SentencePiece model for both languages, with its own numbers.

    Raises:
        ValueError: not such a model, or one without `</s>`.
    """

    model: bytes = field(repr=False)

    name = "vocab.spm"

    def __post_init__(self) -> None:
        if self._pieces.eos_id() < 0:
            raise ValueError(f"{self.name} has no {EOS}")

    @cached_property
    def _pieces(self) -> Any:
        return _processor(self.model, self.name)

    @property
    def source_size(self) -> int:
        return int(self._pieces.get_piece_size())

    @property
    def target_size(self) -> int:
        return self.source_size

    @property
    def eos(self) -> int:
        return int(self._pieces.eos_id())

    def encode(self, sentence: str) -> list[int]:
        return [*self._pieces.encode(sentence)[: MAX_PIECES - 1], self.eos]

    encode_target = encode

    def decode(self, pieces: Sequence[int]) -> str:
        return str(self._pieces.decode(_before(pieces, self.eos)))

    def to_files(self) -> dict[str, bytes]:
        return {self.name: self.model}


@dataclass(frozen=True, kw_only=True)
class SeparateVocabularies:
    """One SentencePiece model per side, each with its own numbers; eos has the same number in both.

    Raises:
        ValueError: not such models, or `</s>` is missing or not the same piece in both.
    """

    source_model: bytes = field(repr=False)
    target_model: bytes = field(repr=False)

    names = ("source.spm", "target.spm")

    def __post_init__(self) -> None:
        found = [self._source.eos_id(), self._target.eos_id()]
        for name, eos in zip(self.names, found, strict=True):
            if eos < 0:
                raise ValueError(f"{name} has no {EOS}")
        if found[0] != found[1]:
            raise ValueError(f"{EOS} is piece {found[0]} of {self.names[0]} and piece {found[1]} of {self.names[1]}")

    @cached_property
    def _source(self) -> Any:
        return _processor(self.source_model, self.names[0])

    @cached_property
    def _target(self) -> Any:
        return _processor(self.target_model, self.names[1])

    @property
    def source_size(self) -> int:
        return int(self._source.get_piece_size())

    @property
    def target_size(self) -> int:
        return int(self._target.get_piece_size())

    @property
    def eos(self) -> int:
        return int(self._source.eos_id())

    def encode(self, sentence: str) -> list[int]:
        return [*self._source.encode(sentence)[: MAX_PIECES - 1], self.eos]

    def encode_target(self, sentence: str) -> list[int]:
        return [*self._target.encode(sentence)[: MAX_PIECES - 1], self.eos]

    def decode(self, pieces: Sequence[int]) -> str:
        return str(self._target.decode(_before(pieces, self.eos)))

    def to_files(self) -> dict[str, bytes]:
        return dict(zip(self.names, (self.source_model, self.target_model), strict=True))


@dataclass(frozen=True, kw_only=True)
class NumberedVocabulary:
    """Two SentencePiece models whose pieces `numbers` maps into one numbering, as OPUS-MT has them.

    A source sentence may begin with a language code `>>por<<`, a piece of its own. A piece without a number is unknown.

    Raises:
        ValueError: not such models, or numbers that are not 0 … n−1 or lack `</s>` or `<unk>`.
    """

    source_model: bytes = field(repr=False)
    target_model: bytes = field(repr=False)
    numbers: Mapping[str, int] = field(repr=False)

    names = ("source.spm", "target.spm", "vocab.json")

    def __post_init__(self) -> None:
        values = list(self.numbers.values())
        if not all(type(value) is int for value in values) or sorted(values) != list(range(len(values))):
            raise ValueError(f"{self.names[2]} must number its {len(values)} pieces from 0 without a gap")
        for piece in (EOS, UNKNOWN):
            if piece not in self.numbers:
                raise ValueError(f"{self.names[2]} has no {piece}")
        _ = self._source, self._target

    @cached_property
    def _source(self) -> Any:
        return _processor(self.source_model, self.names[0])

    @cached_property
    def _target(self) -> Any:
        return _processor(self.target_model, self.names[1])

    @cached_property
    def _by_number(self) -> dict[int, str]:
        return {number: piece for piece, number in self.numbers.items()}

    @property
    def source_size(self) -> int:
        return len(self.numbers)

    @property
    def target_size(self) -> int:
        return len(self.numbers)

    @property
    def eos(self) -> int:
        return self.numbers[EOS]

    def encode(self, sentence: str) -> list[int]:
        code = _LANGUAGE.match(sentence)
        pieces = self._source.encode(sentence[code.end() :] if code else sentence, out_type=str)
        return self._numbered([code.group(1), *pieces] if code else pieces)

    def encode_target(self, sentence: str) -> list[int]:
        return self._numbered(self._target.encode(sentence, out_type=str))

    def _numbered(self, pieces: Sequence[str]) -> list[int]:
        unknown = self.numbers[UNKNOWN]
        return [*(self.numbers.get(piece, unknown) for piece in pieces[: MAX_PIECES - 1]), self.eos]

    def decode(self, pieces: Sequence[int]) -> str:
        special = {self.numbers.get(PADDING), self.numbers[UNKNOWN]}
        kept = [self._by_number[piece] for piece in _before(pieces, self.eos) if piece not in special]
        return str(self._target.decode_pieces(kept))

    def to_files(self) -> dict[str, bytes]:
        numbers = json.dumps(dict(self.numbers), ensure_ascii=False, indent=0).encode()
        return dict(zip(self.names, (self.source_model, self.target_model, numbers), strict=True))


def read_vocabulary(files: Mapping[str, bytes]) -> Vocabulary:
    """The inverse of `to_files` of any kind; other files are ignored. ValueError naming what is missing or wrong."""
    if SentencePieceVocabulary.name in files:
        return SentencePieceVocabulary(model=files[SentencePieceVocabulary.name])
    source, target, numbers = NumberedVocabulary.names
    if missing := [name for name in (source, target) if name not in files]:
        raise ValueError(f"{missing[0]} is missing, and there is no {SentencePieceVocabulary.name}")
    if numbers not in files:
        return SeparateVocabularies(source_model=files[source], target_model=files[target])
    try:
        document = parse_json(files[numbers])
    except ValueError as error:
        raise ValueError(f"{numbers} is not valid JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"{numbers} must be an object of pieces and numbers")
    return NumberedVocabulary(source_model=files[source], target_model=files[target], numbers=document)


def train_vocabulary(sentences: Iterable[str], *, size: int, seed: int = 0) -> SentencePieceVocabulary:
    """A SentencePiece model (unigram, byte fallback: every text can be written) of both languages' sentences.

    As Marian's students have it: `</s>` is piece 0, `<unk>` 1, no begin, no padding. The same sentences in the same
    order give the same model. Kudo 2018, arXiv:1804.10959.

    Raises:
        ValueError: too few different characters or sentences for so many pieces.
    """
    import sentencepiece

    sentencepiece.set_random_generator_seed(seed)
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=buffer, vocab_size=size, model_type="unigram",
            byte_fallback=True, eos_id=0, unk_id=1, bos_id=-1, pad_id=-1, character_coverage=0.9999, num_threads=1,
            minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2] or "SentencePiece refused the sentences"
        raise ValueError(f"a vocabulary of {size} pieces cannot be trained: {reason[:200]}") from error
    return SentencePieceVocabulary(model=buffer.getvalue())


def check_vocabulary(vocabulary: Vocabulary, *, source_size: int, target_size: int) -> None:
    """ValueError when the vocabulary does not belong to a network with so many embeddings."""
    found = (vocabulary.source_size, vocabulary.target_size)
    if found != (source_size, target_size):
        raise ValueError(
            f"the vocabulary has {found[0]} source and {found[1]} target pieces, the weights have {source_size} and "
            f"{target_size}: they do not belong together"
        )


def _before(pieces: Sequence[int], eos: int) -> list[int]:
    numbers = [int(piece) for piece in pieces]
    return numbers[: numbers.index(eos)] if eos in numbers else numbers
