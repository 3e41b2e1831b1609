"""The program beside a release against the decoding that it was judged with."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from toy_translators import VARIANTS, network

from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.graphs import graphs
from components.core.tasks.translation.pages import CLIENT
from components.core.tasks.translation.serving import OnnxDecoder, padded, translate
from components.core.tasks.translation.vocabulary import (
    NumberedVocabulary,
    SentencePieceVocabulary,
    SeparateVocabularies,
    Vocabulary,
    train_vocabulary,
)

WORDS = (
    *("open", "close", "the", "a", "file", "window", "page", "letter", "now"),
    *("before", "lunch", "garden", "row", "of", "seven", "words", "here", "there"),
)
TEXTS = [
    " ".join(WORDS[(start * step + step) % len(WORDS)] for step in range(1, 2 + (start * 5) % 23))
    for start in range(40)
]


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_vocabulary(TEXTS, size=290).model


def program(path: str = "client.py") -> ModuleType:
    """The client as a module."""
    client = ModuleType("client")
    client.__file__ = path
    exec(CLIENT, client.__dict__)
    return client


def numbered(model: bytes) -> NumberedVocabulary:
    pieces = SentencePieceVocabulary(model=model)._pieces
    names = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    numbers = {name: place for place, name in enumerate([">>por<<", *reversed(names), "<pad>"])}
    return NumberedVocabulary(source_model=model, target_model=model, numbers=numbers)


VOCABULARIES = {
    "shared": lambda model: SentencePieceVocabulary(model=model),
    "separate": lambda model: SeparateVocabularies(source_model=model, target_model=model),
}


@pytest.fixture(scope="module", params=VOCABULARIES)
def release(request: pytest.FixtureRequest, model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the files of a release of random weights, its sessions and assets, and the program as a module."""
    vocabulary: Vocabulary = VOCABULARIES[request.param](model)
    variant = VARIANTS[1] if request.param == "separate" else VARIANTS[0]
    config = replace(
        variant, source_size=vocabulary.source_size, target_size=vocabulary.target_size, eos=vocabulary.eos
    )
    assets = TranslationAssets(
        vocabulary=vocabulary, source_language="en", target_language="pt", beam_size=3, length_penalty=0.6, never=(7, 9)
    )
    folder = tmp_path_factory.mktemp("release")
    for name, data in {**assets.to_files(), "client.py": CLIENT.encode()}.items():
        (folder / name).write_bytes(data)
    for name, graph in graphs(network(config)).items():
        export_onnx(graph, folder / f"{name}.onnx")
    sessions = {name: open_session(folder / f"{name}.onnx") for name in ("encoder", "step")}
    return folder, sessions, assets, program(str(folder / "client.py"))


def judged(sessions: Any, assets: TranslationAssets, texts: list[str], **decoding: Any) -> list[str]:
    source = padded([assets.vocabulary.encode(text) for text in texts], assets.vocabulary.eos)
    decoder = OnnxDecoder(sessions, eos=assets.vocabulary.eos)
    found = translate(decoder, source, **{**assets.decoding, **decoding})
    return [assets.vocabulary.decode(pieces) for pieces in found]


@pytest.mark.parametrize("kind", ["shared", "separate", "numbered"])
def test_pieces_are_those_of_the_release_s_vocabulary(kind: str, model: bytes, tmp_path: Path) -> None:
    vocabulary = {**VOCABULARIES, "numbered": numbered}[kind](model)
    assets = TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt")
    for name, data in assets.to_files().items():
        (tmp_path / name).write_bytes(data)
    ours = program().Vocabulary(tmp_path, json.loads((tmp_path / "translation.json").read_bytes()))
    for text in [*TEXTS, "", "não é ☃", ">>por<< open the file", "open " * 600]:
        pieces = vocabulary.encode(text)
        assert ours.encode(text) == pieces
        assert ours.decode(pieces[:-1]) == vocabulary.decode(pieces)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_program_says_what_the_release_was_judged_by(release: Any, beam: int) -> None:
    folder, sessions, assets, client = release
    wanted = judged(sessions, assets, TEXTS, beam_size=beam)
    assert len(set(wanted)) > 3, "the network says different things"
    translator = client.Translator(folder)
    for batch in (1, 7, 64):
        assert translator.translate(TEXTS, split=False, batch=batch, beam=beam) == wanted, batch
    if beam == assets.beam_size:
        assert translator.translate(TEXTS, split=False) == wanted, "the release's own way of decoding"


def test_texts_are_cut_translated_by_sentence_and_joined_with_their_own_white_space(release: Any) -> None:
    folder, sessions, assets, client = release
    text = "Open the file.  Close the window!\n\nThe letter of seven words here"
    parts = judged(sessions, assets, ["Open the file.", "Close the window!", "The letter of seven words here"])
    translator = client.Translator(folder)
    assert translator.translate([text, "", "   "]) == [f"{parts[0]}  {parts[1]}\n\n{parts[2]}", "", ""]
    (whole,) = judged(sessions, assets, ["Open the file. Close the window! The letter of seven words here"])
    assert translator.translate([text], split=False) == [whole]


CUT = [
    ("One. Two? \"Three!\" Four", ["One.", "Two?", "\"Three!\"", "Four"]),
    ("See e.g. Berlin or Dr. No. Then go.", ["See e.g. Berlin or Dr. No. Then go."]),
    ("It costs 3.50 now. 7 are left.", ["It costs 3.50 now.", "7 are left."]),
    ("Wait... what? yes", ["Wait... what? yes"]),
    ("J. S. Bach wrote it. He did.", ["J. S. Bach wrote it.", "He did."]),
    ("一。二！三", ["一。", "二！", "三"]),
    ("a line\nanother\n", ["a line", "another", ""]),
    ("¿Qué? ¡Sí!", ["¿Qué?", "¡Sí!"]),
    ("", [""]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CUT)
def test_sentences_end_where_a_reader_would_say(text: str, wanted: list[str]) -> None:
    cut = program().sentences(text)
    assert [sentence for sentence, _ in cut] == wanted
    assert "".join(sentence + gap for sentence, gap in cut) == text


PROGRAM = """
import runpy, sys
sys.argv = ["client.py", "--whole", "texts.txt"]
runpy.run_path("client.py", run_name="__main__")
print(*sorted({name.partition(".")[0] for name in sys.modules}), sep=chr(10), file=sys.stderr)
"""


def test_the_command_translates_a_file_line_by_line_and_loads_three_packages(release: Any) -> None:
    folder, sessions, assets, _ = release
    (folder / "texts.txt").write_text("\n".join(TEXTS[:5]) + "\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, check=True, cwd=folder)
    assert done.stdout.decode().split("\n") == [*judged(sessions, assets, TEXTS[:5]), ""]
    loaded = set(done.stderr.decode().split())
    assert {"numpy", "onnxruntime", "sentencepiece"} <= loaded
    assert not loaded & {"components", "torch", "transformers", "pyarrow", "sacrebleu", "py3langid", "yaml"}
