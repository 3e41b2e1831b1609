"""Drift of sentence pairs: their lengths and scripts, and what the encoder makes of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_translators import SMALL
from toy_translators import network as toy

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.report.page import Section, render_page
from components.core.stage_pages.drift import drift_blocks, drift_sentence
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.languages import mixes_scripts
from components.core.tasks.translation.vocabulary import train_vocabulary
from components.drift.comparison import measure_drift

ROWS = get_task("translation").rows
PLAIN = ["open", "close", "file", "window", "page", "letter", "garden", "river"]
OTHER = ["zq7x", "qx9z", "xzq3", "zzq1", "q8xz", "xq5z", "z2qx", "qzx6"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def rows(count: int, *, words: list[str] = PLAIN, lengths: tuple[int, ...] = (3, 5, 9), seed: int = 0) -> list[dict]:
    """Sentences of these lengths in turn, of words drawn at random."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(words, lengths[number % len(lengths)])) for number in range(count)]
    return [
        {"text": text, "translation": f"{seed} {text}", "digest": f"{seed * 10_000 + number:064x}", "source": "x"}
        for number, text in enumerate(texts)
    ]


def dataset(store: Store, path: Path, train: list[dict], put_aside: tuple[str, ...] = ()) -> Dataset:
    files = [{"source": str(n), "label": None, "reason": reason, "detail": ""} for n, reason in enumerate(put_aside)]
    quarantine = {"quarantine.json": json.dumps({"files": files}).encode()}
    write_dataset(path, rows=ROWS, classes=[], splits={"train": train}, store=store, extra_files=quarantine)
    return open_dataset(path, store)


@pytest.fixture(scope="module")
def model() -> ModelBundle:
    vocabulary = train_vocabulary([row["text"] for row in rows(200) + rows(200, words=OTHER)], size=300)
    config = replace(SMALL, source_size=300, target_size=300)
    architecture = Architecture(
        backbone="x", source="marian:transformer", num_outputs=300, task="translation", options=config.to_json()
    )
    assets = TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt")
    return ModelBundle(module=toy(config), architecture=architecture, assets=assets)


def test_longer_sentences_are_a_shift_of_lengths_and_other_words_are_drift_of_features(
    store: Store, tmp_path: Path, model: ModelBundle
) -> None:
    old = rows(240)
    reference = dataset(store, tmp_path / "r", old)
    longer = dataset(store, tmp_path / "l", old + rows(60, lengths=(9, 20), seed=1))
    found = measure_drift(longer, reference, model, store, max_images=200, seed=0)
    assert found["labels"]["p_value"] == pytest.approx(1 / 2001)
    assert (found["mixed"], found["images"]["new"]) == ("lengths", 60)
    assert found["labels"]["distance"] > 0.5
    shares = {row["class"]: (row["reference"], row["new"]) for row in found["mix"]}
    assert shares["1–3 words"] == (80, 0)
    assert shares["16–30 words"] == (0, 30)
    other = dataset(store, tmp_path / "o", old + rows(60, words=OTHER, seed=2))
    found = measure_drift(other, reference, model, store, max_images=200, seed=0)
    assert found["labels"]["p_value"] > 0.5
    assert found["features"]["auc"] > 0.9
    said = drift_sentence(found)
    assert said.startswith("60 new sentence pairs; lengths moved by 0.0 %")
    page = render_page("t", [Section("d", drift_blocks(found))])
    assert "new images" not in page
    assert "images now" not in page
    assert "16–30 words" in page


def test_sentences_in_several_scripts_are_a_group_of_their_own(
    store: Store, tmp_path: Path, model: ModelBundle
) -> None:
    old = rows(120)
    reference = dataset(store, tmp_path / "r", old)
    mixed = dataset(store, tmp_path / "m", old + rows(40, words=["open", "файл", "окно", "page"], seed=3))
    found = measure_drift(mixed, reference, model, store, max_images=100, seed=0)
    assert found["labels"]["p_value"] < 0.001
    assert {row["class"]: row["new"] for row in found["mix"]}["several scripts"] > 30


def test_untranslated_and_equal_entries_are_usual_and_damage_is_a_fault(
    store: Store, tmp_path: Path, model: ModelBundle
) -> None:
    old = rows(40)
    reference = dataset(store, tmp_path / "r", old)
    reasons = ("identical", "no target", "fuzzy", "content in two splits", "encoding damage", "wrong language")
    newest = dataset(store, tmp_path / "n", old + rows(6, seed=4), reasons)
    found = measure_drift(newest, reference, model, store, max_images=20, seed=0)
    assert found["quarantine"] == {"new": 2, "share": 2 / 8}
    assert set(reasons[:3]) <= set(ROWS.reasons)


@pytest.mark.parametrize(
    ("text", "mixed"),
    [("open the файл", True), ("ひらがなと漢字とカタカナ", False), ("size in µm, 2º", False), ("1 2 3", False)],
)
def test_a_tenth_of_other_letters_is_a_mixture(text: str, mixed: bool) -> None:
    assert mixes_scripts(text) is mixed
