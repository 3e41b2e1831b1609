"""A translation network without its weights: vocabulary, languages, and how a release decodes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.json_documents import parse_json
from components.core.models.inputs import BATCH, InputSpec
from components.core.store.keys import canonical_json
from components.core.tasks.translation.decoding import LENGTH_AT_LEAST, LENGTH_FACTOR
from components.core.tasks.translation.languages import is_language
from components.core.tasks.translation.parameters import BEAM_SIZE, LENGTH_PENALTY, MOST_BEAMS
from components.core.tasks.translation.vocabulary import MAX_PIECES, Vocabulary, read_vocabulary

FILE, METADATA = "translation.json", "translation"
SOURCE, TARGET = "source", "target"
TYPICAL_LENGTH = 24
"""Pieces of a source, and of a translation, at which costs are counted."""
_FIELDS = ("source_language", "target_language", "beam_size", "length_penalty", "never")


@dataclass(frozen=True, kw_only=True)
class TranslationAssets:
    """`vocabulary` of both sides; `never`: pieces that decoding may not choose; `beam_size` 1 is greedy decoding.

    Raises:
        ValueError: a language that is no short text, a beam outside of 1..12, a negative penalty, or a piece that the
            vocabulary has not.
    """

    vocabulary: Vocabulary
    source_language: str
    target_language: str
    beam_size: int = BEAM_SIZE
    length_penalty: float = LENGTH_PENALTY
    never: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for language in (self.source_language, self.target_language):
            if not is_language(language):
                raise ValueError(f"a language is one short line, got {str(language)[:40]!r}")
        if type(self.beam_size) is not int or not 1 <= self.beam_size <= MOST_BEAMS:
            raise ValueError(f"beam_size must be a whole number in 1..{MOST_BEAMS}, got {self.beam_size!r}")
        if not isinstance(self.length_penalty, int | float) or not 0 <= self.length_penalty < 100:
            raise ValueError(f"length_penalty must be at least 0, got {self.length_penalty!r}")
        for piece in self.never:
            if type(piece) is not int or not 0 <= piece < self.vocabulary.target_size or piece == self.vocabulary.eos:
                raise ValueError(f"never holds {piece!r}, which is no piece that could be left out")

    @property
    def labels(self) -> list[str]:
        """None: there are no classes."""
        return []

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """`source` (batch, length) and `target` (batch, target_length), int64: what training takes."""
        sizes = {SOURCE: self.vocabulary.source_size, TARGET: self.vocabulary.target_size}
        lengths = {SOURCE: "length", TARGET: "target_length"}
        return tuple(
            InputSpec(
                name=name, dtype="int64", shape=(BATCH, lengths[name]), high=size,
                typical=((lengths[name], TYPICAL_LENGTH),),
            )
            for name, size in sizes.items()
        )  # fmt: skip

    @property
    def decoding(self) -> dict[str, Any]:
        """The arguments of `serving.translate`."""
        return {"beam_size": self.beam_size, "length_penalty": self.length_penalty, "never": self.never}

    def to_json(self) -> dict[str, Any]:
        """The content of `translation.json`; with what a client needs besides: eos, and where a translation is cut."""
        return {
            **{name: getattr(self, name) for name in _FIELDS},
            "never": list(self.never),
            "eos": self.vocabulary.eos,
            "max_source_pieces": MAX_PIECES,
            "length_factor": LENGTH_FACTOR,
            "length_at_least": LENGTH_AT_LEAST,
        }

    def to_files(self) -> dict[str, bytes]:
        """`translation.json` and the vocabulary's files."""
        return {FILE: canonical_json(self.to_json()), **self.vocabulary.to_files()}

    def to_metadata(self) -> dict[str, Any]:
        """`translation.json`, and the digests of the vocabulary's files, which are too large to stand in each graph."""
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in self.vocabulary.to_files().items()}
        return {METADATA: {**self.to_json(), "vocabulary": digests}}

    def beside(self) -> dict[str, bytes]:
        """All: the vocabulary is too large to stand in each graph, and a client reads how to decode beside it."""
        return self.to_files()

    def describe(self) -> dict[str, str]:
        """Languages, vocabulary, decoding."""
        source, target = self.vocabulary.source_size, self.vocabulary.target_size
        pieces = f"{source:,} pieces" if source == target else f"{source:,} and {target:,} pieces"
        greedy = "greedy" if self.beam_size == 1 else f"beam of {self.beam_size}"
        return {
            "input": f"{self.source_language} → {self.target_language}",
            "vocabulary": pieces,
            "decoding": greedy,
        }


def read_files(files: Mapping[str, bytes]) -> TranslationAssets:
    """The inverse of `TranslationAssets.to_files`; ValueError naming what is missing or wrong."""
    if FILE not in files:
        raise ValueError(f"{FILE} is missing")
    try:
        document = parse_json(files[FILE])
    except ValueError as error:
        raise ValueError(f"{FILE} is not valid JSON") from error
    return _assets(document, files)


def read_metadata(metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> TranslationAssets:
    """The inverse of `to_metadata`, with the vocabulary's `files`; ValueError naming what is missing or wrong."""
    document = metadata.get(METADATA)
    if not isinstance(document, Mapping) or not isinstance(document.get("vocabulary"), Mapping):
        raise ValueError(f"{METADATA} is missing")
    for name, digest in document["vocabulary"].items():
        if name not in files:
            raise ValueError(f"{name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(f"{name} is another one than the graph was made with")
    return _assets(document, {name: files[name] for name in document["vocabulary"]})


def _assets(document: Any, files: Mapping[str, bytes]) -> TranslationAssets:
    if not isinstance(document, Mapping):
        raise ValueError(f"{FILE} must hold an object")
    if missing := [name for name in _FIELDS if name not in document]:
        raise ValueError(f"{FILE} has no {missing[0]}")
    given = {name: document[name] for name in _FIELDS}
    if not isinstance(given["never"], list):
        raise ValueError(f"{FILE}: never must be a list of pieces")
    return TranslationAssets(vocabulary=read_vocabulary(files), **{**given, "never": tuple(given["never"])})
