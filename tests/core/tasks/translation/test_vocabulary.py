import numpy as np
import pytest

from components.core.tasks.translation.examples import SentencePairs
from components.core.tasks.translation.vocabulary import (
    MAX_PIECES,
    NumberedVocabulary,
    SentencePieceVocabulary,
    check_vocabulary,
    read_vocabulary,
    train_vocabulary,
)

WORDS = ("open", "the", "file", "abra", "o", "arquivo", "save", "salve", "row", "linha", "cell", "célula")
SENTENCES = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS[:4]]


@pytest.fixture(scope="module")
def vocabulary() -> SentencePieceVocabulary:
    return train_vocabulary(SENTENCES, size=284)


def test_every_text_comes_back_also_with_characters_that_were_never_seen(vocabulary: SentencePieceVocabulary) -> None:
    for sentence in ("open the file", "célula 漢字 €5", "x", ""):
        pieces = vocabulary.encode(sentence)
        assert pieces[-1] == vocabulary.eos == 0
        assert pieces.count(0) == 1
        assert vocabulary.decode(pieces) == sentence
        assert vocabulary.decode([*pieces, 5, 6]) == sentence, "what follows eos is left out"


def test_the_same_sentences_give_the_same_vocabulary(vocabulary: SentencePieceVocabulary) -> None:
    assert train_vocabulary(SENTENCES, size=284).model == vocabulary.model
    assert vocabulary.source_size == vocabulary.target_size == 284


def test_a_text_cannot_name_the_end(vocabulary: SentencePieceVocabulary) -> None:
    assert vocabulary.encode("open </s> file").count(vocabulary.eos) == 1


def test_a_very_long_sentence_is_cut_and_still_ends(vocabulary: SentencePieceVocabulary) -> None:
    pieces = vocabulary.encode("row " * 10_000)
    assert len(pieces) == MAX_PIECES
    assert pieces[-1] == vocabulary.eos


def test_a_vocabulary_survives_its_files(vocabulary: SentencePieceVocabulary) -> None:
    assert read_vocabulary({**vocabulary.to_files(), "other.txt": b""}) == vocabulary
    known = [vocabulary._pieces.id_to_piece(number) for number in vocabulary.encode("row")[:-1]]
    numbers = {"</s>": 0, "<unk>": 1} | {piece: number for number, piece in enumerate(dict.fromkeys(known), 2)}
    numbered = NumberedVocabulary(source_model=vocabulary.model, target_model=vocabulary.model, numbers=numbers)
    assert read_vocabulary(numbered.to_files()) == numbered
    assert numbered.decode(numbered.encode_target("row")) == "row"
    assert 1 in numbered.encode("row cell"), "a piece without a number is unknown"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"vocab.spm": b"nothing"}, "vocab.spm is not a SentencePiece model"),
        ({"source.spm": b"", "vocab.json": b"{}"}, "target.spm is missing, and there is no vocab.spm"),
        ({"source.spm": b"", "target.spm": b"", "vocab.json": b"{"}, "vocab.json is not valid JSON"),
        ({"source.spm": b"", "target.spm": b"", "vocab.json": b'{"a": 0}'}, "vocab.json has no </s>"),
    ],
)
def test_damaged_files_are_refused_by_name(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_vocabulary(files)


def test_too_few_sentences_for_so_many_pieces_are_refused_with_a_number_that_works() -> None:
    with pytest.raises(ValueError, match=r"of 5000 pieces cannot be trained: .*too high.*<= \d+"):
        train_vocabulary(SENTENCES[:20], size=5000)


def test_a_vocabulary_of_another_size_does_not_belong_to_the_weights(vocabulary: SentencePieceVocabulary) -> None:
    check_vocabulary(vocabulary, source_size=284, target_size=284)
    with pytest.raises(ValueError, match="has 284 source and 284 target pieces, the weights have 284 and 300"):
        check_vocabulary(vocabulary, source_size=284, target_size=300)


def test_a_batch_counts_the_target_pieces_with_their_eos_and_no_padding(vocabulary: SentencePieceVocabulary) -> None:
    pairs = SentencePairs(vocabulary=vocabulary)
    rows = [{"text": "open the file now", "translation": "abra"}, {"text": "row", "translation": "linha o arquivo"}]
    examples = [pairs.decode(row) for row in rows]
    batch = pairs.collate(examples, ["a", "b"], pairs.draw(np.random.default_rng(0), 2))
    lengths = [len(vocabulary.encode_target(row["translation"])) for row in rows]
    assert batch.count == sum(lengths)
    assert batch.weight.sum(axis=1).tolist() == lengths
    assert list(batch.inputs) == ["source", "target"]
    for row, pieces in zip(rows, batch.targets, strict=True):
        assert vocabulary.decode(pieces) == row["translation"]
    assert (batch.targets[~batch.weight] == vocabulary.eos).all()


def test_a_release_is_judged_against_the_text_itself(vocabulary: SentencePieceVocabulary) -> None:
    pairs = SentencePairs(vocabulary=vocabulary, full_size=True)
    batch = pairs.collate([pairs.decode({"text": "row", "translation": "linha  é"})], ["a"], None)
    assert (batch.targets, batch.weight, list(batch.inputs)) == (["linha  é"], None, ["source"])
    assert batch.targets[0].source == "row"
    assert pairs.key != SentencePairs(vocabulary=vocabulary).key
    assert pairs.collate([], [], None).inputs["source"].shape == (0, 1)
