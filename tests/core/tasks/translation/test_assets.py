"""Assets of a translator: files and metadata there and back, and what is refused."""

import json
from dataclasses import replace

import pytest
from trained_vocabulary import vocabulary_of

from components.core.tasks import get_task
from components.core.tasks.translation.assets import TranslationAssets

TASK = get_task("translation")


@pytest.fixture(scope="module")
def assets():
    return TranslationAssets(
        vocabulary=vocabulary_of(), source_language="en", target_language="pt-BR", beam_size=4, length_penalty=0.6,
        never=(5,),
    )  # fmt: skip


def test_files_and_metadata_come_back(assets):
    files = assets.to_files()
    assert set(files) == {"translation.json", "vocab.spm"}
    assert TASK.read_assets({**files, "other": b""}) == assets
    metadata = json.loads(json.dumps(assets.to_metadata()))
    assert len(json.dumps(metadata)) < 1000  # the vocabulary itself stays beside the graphs
    assert assets.beside() == files, "so that it counts in the size"
    assert TASK.read_metadata(metadata, files) == assets


def test_what_a_client_needs_is_in_the_file(assets):
    document = json.loads(assets.to_files()["translation.json"])
    assert (document["eos"], document["beam_size"], document["length_penalty"]) == (0, 4, 0.6)
    assert (document["length_factor"], document["length_at_least"], document["max_source_pieces"]) == (2.5, 16, 512)


def test_another_vocabulary_than_the_graphs_is_refused(assets):
    other = vocabulary_of(size=390).to_files()
    with pytest.raises(ValueError, match=r"vocab\.spm is another one than the graph was made with"):
        TASK.read_metadata(assets.to_metadata(), other)
    with pytest.raises(ValueError, match=r"vocab\.spm is missing"):
        TASK.read_metadata(assets.to_metadata(), {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam_size": 0}, "beam_size must be a whole number in 1..12, got 0"),
        ({"beam_size": 10**9}, "beam_size must be a whole number in 1..12, got 1000000000"),
        ({"source_language": 5}, "a language is one short line, got '5'"),
        ({"target_language": "p\x1b[2Kt"}, "a language is one short line"),
        ({"length_penalty": -1}, "length_penalty must be at least 0, got -1"),
        ({"never": (10_000,)}, "never holds 10000"),
        ({"never": (0,)}, "never holds 0"),  # eos: no translation would end
    ],
)
def test_wrong_values_are_named(assets, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(assets, **changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "translation.json is missing"),
        (b"{", "translation.json is not valid JSON"),
        (b"[]", "translation.json must hold an object"),
        (b"{}", "translation.json has no source_language"),
    ],
)
def test_a_damaged_file_is_named(assets, content, message):
    files = assets.to_files()
    changed = {**files, "translation.json": content} if content is not None else {"vocab.spm": files["vocab.spm"]}
    with pytest.raises(ValueError, match=message):
        TASK.read_assets(changed)
