"""From a catalog entry to a network and its vocabulary: Marian's files, OPUS-MT's folders, and networks of our own.

An entry names its weights; its `files` beside them are the vocabulary, or what an OPUS-MT folder holds. Without weights
its `options` are the sizes of a fresh network, whose vocabulary is trained on the training split.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.models.weights import weights_files
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.marian_binary import read_marian
from components.core.tasks.translation.marian_options import marian_config
from components.core.tasks.translation.vocabulary import (
    SentencePieceVocabulary,
    Vocabulary,
    check_vocabulary,
    read_vocabulary,
    train_vocabulary,
)

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.models.catalog import Backbone
    from components.core.tasks.translation.networks import EncoderDecoder

ARCHITECTURE = "marian:transformer"
LANGUAGES = ("source_language", "target_language")
VOCABULARY = "vocabulary"
"""Option of an entry without weights: how many pieces its own vocabulary has."""
_SAFETENSORS = ".safetensors"
_SIZES = tuple(field.name for field in fields(EncoderDecoderConfig) if field.name not in ("source_size", "target_size"))
_MOST_SENTENCES = 1_000_000
"""Sentences that a vocabulary is trained on, evenly spread over the training split."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """Config and vocabulary of an entry's network, read from its files."""

    config: EncoderDecoderConfig
    vocabulary: Vocabulary


def check_entry(backbone: "Backbone", task: str) -> None:
    """UserError unless the entry is of a translation network, and what it says of it can be. Reads no weights."""
    name = f"{backbone.origin}: backbone {backbone.name!r}"
    if backbone.task != task or backbone.architecture != ARCHITECTURE:
        raise UserError(
            f"{name} is not a translation network; name an entry with 'task: {task}' and 'architecture: {ARCHITECTURE}'"
        )
    if backbone.weights == "none":
        fresh_config(backbone, _pieces(backbone))
        return
    if unknown := sorted(set(backbone.options) - set(LANGUAGES)):
        raise UserError(f"{name}: options must be some of {', '.join(LANGUAGES)}; got {unknown[0]!r}")
    if not backbone.files:
        raise UserError(f"{name}: 'files' must name what lies beside the weights: a vocabulary (.spm), with its sha256")


def check_languages(backbone: "Backbone", languages: tuple[str, str]) -> None:
    """UserError when the entry states other languages than the data set's; regions do not count."""
    stated = [backbone.options.get(name) for name in LANGUAGES]
    for said, wanted in zip(stated, languages, strict=True):
        if said is not None and base_code(str(said)) != base_code(wanted):
            raise UserError(
                f"{backbone.origin}: backbone {backbone.name!r} translates {stated[0]} to {stated[1]}, the data set is "
                f"{languages[0]} to {languages[1]}; give other backbones, or check source_language and target_language"
            )


def base_code(language: str) -> str:
    """The language without region or script: "pt" of "pt-BR"."""
    return language.replace("_", "-").partition("-")[0].lower()


def fresh_config(backbone: "Backbone", pieces: int) -> EncoderDecoderConfig:
    """The config of an entry without weights, for a vocabulary of so many pieces; UserError naming a wrong option."""
    sizes = {name: value for name, value in backbone.options.items() if name not in (*LANGUAGES, VOCABULARY)}
    try:
        if unknown := sorted(set(sizes) - set(_SIZES)):
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join((*LANGUAGES, VOCABULARY, *_SIZES))}")
        return EncoderDecoderConfig.from_json({**sizes, "source_size": pieces, "target_size": pieces})
    except (ValueError, TypeError) as error:
        raise UserError(f"{backbone.origin}: backbone {backbone.name!r}: {error}") from None


def own_vocabulary(backbone: "Backbone", dataset: "Dataset") -> Vocabulary:
    """A vocabulary trained on the training split's sentences of both languages; UserError when there are too few."""
    rows = dataset.iterate("train", columns=(TEXT, TRANSLATION), limit=_MOST_SENTENCES // 2)
    try:
        return train_vocabulary(_sentences(rows), size=_pieces(backbone))
    except ValueError as error:
        raise UserError(
            f"backbone {backbone.name!r}: {error}; give more sentence pairs, or an entry with a smaller {VOCABULARY}"
        ) from None


def _sentences(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield row[TEXT]
        yield row[TRANSLATION]


def _pieces(backbone: "Backbone") -> int:
    pieces = backbone.options.get(VOCABULARY, 8000)
    if type(pieces) is not int or not 270 <= pieces <= 1_000_000:
        raise UserError(
            f"{backbone.origin}: backbone {backbone.name!r}: {VOCABULARY} must be a whole number of pieces from 270 on "
            f"(every byte is one), got {pieces!r}"
        )
    return pieces


def describe(backbone: "Backbone") -> Described:
    """Config and vocabulary of published weights. Needs no torch for Marian's files.

    Raises:
        UserError: a file cannot be had, is damaged, or does not belong to the others.
    """
    with weights_files(backbone) as (path, files):
        try:
            if path.suffix == _SAFETENSORS:
                return _described_opus(files)
            return _described_marian(path, files)
        except ValueError as error:
            raise UserError(f"{backbone.origin}: backbone {backbone.name!r}: {error}") from None


def load_weights(backbone: "Backbone", network: "EncoderDecoder") -> str:
    """Copies the entry's published weights into a network of its config; says in a few words which they are.

    Raises:
        UserError: as `describe`, or the weights do not fit the network.
    """
    from components.core.tasks.translation.marian_weights import load_marian
    from components.core.tasks.translation.opus_mt import load_opus_mt

    with weights_files(backbone) as (path, files):
        if path.suffix == _SAFETENSORS:
            loaded, _ = load_opus_mt(path.parent)
        else:
            loaded = load_marian(path, eos=_spm(files).eos)
    if loaded.config != network.config:
        raise UserError(f"backbone {backbone.name!r}: its weights belong to another network than the one described")
    network.load_state_dict(loaded.state_dict())
    return "all weights, output layer and vocabulary included"


def _described_marian(path: Path, files: Mapping[str, Path]) -> Described:
    vocabulary = _spm(files)
    config = marian_config(read_marian(path.read_bytes()), eos=vocabulary.eos)
    check_vocabulary(vocabulary, source_size=config.source_size, target_size=config.target_size)
    return Described(config=config, vocabulary=vocabulary)


def _spm(files: Mapping[str, Path]) -> SentencePieceVocabulary:
    found = [path for name, path in files.items() if name.endswith(".spm")]
    if len(found) != 1:
        raise ValueError(f"files must name one vocabulary (.spm) for Marian's weights, got {len(found)}")
    return SentencePieceVocabulary(model=found[0].read_bytes())


def _described_opus(files: Mapping[str, Path]) -> Described:
    from components.core.tasks.translation.opus_mt import CONFIG, opus_config

    if CONFIG not in files:
        raise ValueError(f"files must name {CONFIG}, source.spm, target.spm and vocab.json of an OPUS-MT folder")
    document = parse_json(files[CONFIG].read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{CONFIG} must be an object")
    config = opus_config(document)
    vocabulary = read_vocabulary({name: path.read_bytes() for name, path in files.items() if name != CONFIG})
    check_vocabulary(vocabulary, source_size=config.source_size, target_size=config.target_size)
    return Described(config=config, vocabulary=vocabulary)
