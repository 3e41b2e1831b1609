"""General sentences: what a training did to translations outside of its domain, and what holds it back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kfp import dsl
from sacrebleu import corpus_chrf
from toy_translators import SMALL, network
from trained_vocabulary import pairs, vocabulary_of

from components.core.artifacts.manifest import Manifest, read_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.bundles.watched import Watched, begin, torch_answers, watched_of
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.parameters import forms, settings_of
from components.core.tasks.translation import general
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.general import GeneralSentences, sample
from components.fine_tune.component import fine_tune

ASSETS = TranslationAssets(vocabulary=vocabulary_of(), source_language="en", target_language="pt-BR")
CONFIG = replace(SMALL, source_size=400, target_size=400)
GENERAL = GeneralSentences()
TASK = get_task("translation")


def speaking(seed: int = 0) -> torch.nn.Module:
    """Random weights, and a liking for short sentences."""
    module = network(CONFIG, seed)
    with torch.no_grad():
        module.output_bias[CONFIG.eos] += 4
    return module


def bundle_of(module: torch.nn.Module) -> ModelBundle:
    architecture = Architecture(
        backbone="toy", source="marian:transformer", num_outputs=400, task="translation", options=CONFIG.to_json()
    )
    return ModelBundle(module=module, architecture=architecture, assets=ASSETS)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    own = general._own("en")[:6]
    monkeypatch.setattr(general, "_own", lambda language: own if language == "en" else ())


def written(path: Path, lines: list[str]) -> dict[str, Any]:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"general_sentences": str(path)}


def test_our_own_sample_is_of_distinct_sentences_in_the_source_language_alone() -> None:
    sentences = sample("en-GB", {}).watched
    assert len(set(sentences)) == len(sentences) == 64
    assert all(sentence == sentence.strip() and len(sentence.split()) >= 6 for sentence in sentences)
    assert sample("xx", {}) == general.Sample()
    assert GENERAL.rows(replace(ASSETS, source_language="xx"), {}) == []


def test_of_a_user_s_file_every_second_sentence_is_watched_and_none_of_these_is_replayed(tmp_path: Path) -> None:
    lines = [f"Sentence {chr(97 + n // 26)}{chr(97 + n % 26)} is here." for n in range(600)]
    asked = written(tmp_path / "own.txt", ["", *lines[:3], "SENTENCE AB is  here!", *lines[3:]])
    found = sample("xx", asked)
    assert found.watched == tuple(lines[0:400:2])
    assert found.others == (*lines[1:400:2], *lines[400:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^cannot read general_sentences \S+own.txt: No such file or directory$"),
        (
            b"Only one.\n\nonly ONE\n",
            r"^general_sentences \S+own.txt has 1 different sentences, one per line; at least 2",
        ),
        (b"Fine.\nCaf\xe9.\n", r"^general_sentences \S+own.txt is not UTF-8 at byte 9$"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        GENERAL.state({"general_sentences": str(tmp_path / "own.txt")})


def test_results_follow_the_file_and_a_change_during_the_run_is_refused(tmp_path: Path) -> None:
    assert GENERAL.state({}) == GENERAL.state({"general_sentences": ""}) == {}
    asked = written(tmp_path / "own.txt", ["One.", "Two."])
    before = GENERAL.state(asked)
    assert sample("en", {**asked, **before}).watched == ("One.",)
    written(tmp_path / "own.txt", ["One.", "Three."])
    assert GENERAL.state(asked) != before
    with pytest.raises(UserError, match="has changed since the run began"):
        sample("en", {**asked, **before})


def test_the_file_s_digest_is_among_the_settings_of_training(tmp_path: Path) -> None:
    form, asked = forms()["translation"], written(tmp_path / "own.txt", ["One.", "Two."])
    settings = settings_of(form, form.resolve({}, asked))["training_settings"]
    assert settings == {**form.settings(form.resolve({}, asked))["training_settings"], **GENERAL.state(asked)}
    assert "general_state" not in settings_of(form, form.resolve({}, {}))["training_settings"]
    images = forms()["optimize"]
    assert settings_of(images, images.resolve({}, {})) == images.settings(images.resolve({}, {}))


def test_the_change_is_chrf_against_the_answers_before() -> None:
    before, after = ["uma casa azul", "o gato dorme", "sim"], ["uma casa verde", "o gato dorme", "sim"]
    change = GENERAL.change(before, after)
    assert change.figures["general_chrf"] == pytest.approx(corpus_chrf(after, [before]).score)
    assert change.figures["general_same_fraction"] == pytest.approx(2 / 3)
    assert "67% of 3 general sentences the same" in change.text
    assert GENERAL.change(["", ""], ["", ""]).figures == {"general_chrf": 100, "general_same_fraction": 1}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return open_store(str(tmp_path / "store"))


def dataset_of(store: Store, path: Path) -> Dataset:
    rows = [
        {"text": text, "translation": translation, "digest": f"{number:064x}", "source": str(number)}
        for number, (text, translation) in enumerate(pairs())
    ]
    write_dataset(
        path, rows=get_task("translation").rows, classes=[], store=store,
        splits={"train": rows[:16], "test": rows[16:20]}, metadata={"languages": ["en", "pt-BR"]},
    )  # fmt: skip
    return open_dataset(path, store)


def test_a_network_that_is_left_alone_has_not_changed_and_another_one_has(
    few: None, store: Store, tmp_path: Path
) -> None:
    manifest = save_model(tmp_path / "model", bundle_of(speaking()), store, {})
    bundle = load_model(manifest, store)
    watched = begin(manifest, bundle, {})
    assert watched is not None
    task = bundle.task
    assert GENERAL.change(watched.answers, torch_answers(bundle, watched.rows)).figures == {
        "general_chrf": pytest.approx(100), "general_same_fraction": 1,
    }  # fmt: skip
    other = bundle_of(speaking(seed=1))
    change = watched.change(task, ASSETS, lambda batch: task.reference(other.module, batch, ASSETS))
    assert change.figures["general_chrf"] < 50
    assert begin(manifest, replace(bundle, assets=replace(ASSETS, source_language="xx")), {}) is None


def test_what_an_earlier_training_began_with_stays_the_reference_but_for_another_file(
    few: None, store: Store, tmp_path: Path
) -> None:
    known = Watched(rows=[{"text": "Old.", "translation": ""}], answers=["Velho."], state={})
    manifest = save_model(tmp_path / "model", bundle_of(speaking()), store, known.to_metadata())
    bundle = load_model(manifest, store)
    assert watched_of(manifest, TASK) == begin(manifest, bundle, {}) == known
    asked = written(tmp_path / "own.txt", ["One.", "Two."])
    found = begin(manifest, bundle, asked)
    assert found is not None
    assert [row["text"] for row in found.rows] == ["One."]
    assert found.state == GENERAL.state(asked)


ROW = {"text": "Old.", "translation": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        5, "x", [1], {"rows": [ROW]}, {"rows": [ROW], "answers": ["Velho."], "state": {}, "more": 1},
        {"rows": [ROW], "answers": ["Velho."], "state": 5}, {"rows": [ROW], "answers": [], "state": {}},
        {"rows": [], "answers": [], "state": {}}, {"rows": [{**ROW, "text": 5}], "answers": ["x"], "state": {}},
        {"rows": [{"a": "b"}], "answers": ["x"], "state": {}}, {"rows": ["x"], "answers": ["x"], "state": {}},
        {"rows": [ROW], "answers": [5], "state": {}}, {"rows": "x", "answers": "x", "state": {}},
    ],
)  # fmt: skip
def test_what_was_watched_in_another_form_is_refused_in_one_line(wrong: object) -> None:
    manifest = Manifest(kind="model", metadata={"general": wrong}, files=())
    with pytest.raises(UserError, match="does not say what it answered before its training"):
        watched_of(manifest, TASK)


def test_replayed_are_the_user_s_sentences_that_no_held_out_row_has(store: Store, tmp_path: Path) -> None:
    dataset = dataset_of(store, tmp_path / "data")
    held = pairs()[17][0]
    lines = [word for n in range(20) for word in (f"Watched {chr(97 + n)}.", f"Other {chr(97 + n)}.")]
    asked = written(tmp_path / "own.txt", [*lines[:7], f"{held.upper()} !", *lines[7:]])
    others = list(sample("en", asked).others)
    assert any(held.lower() in one.lower() for one in others)
    for rows, most in ((50, 19), (5, 5)):
        found = GENERAL.replayed(dataset, ASSETS, asked, rows=rows)
        assert len({row["digest"] for row in found}) == len(found) == most
        assert all(row["text"] in others and held.lower() not in row["text"].lower() for row in found)
        assert {row["source"] for row in found} == {str(tmp_path / "own.txt")}


def test_without_a_file_sources_of_the_training_split_are_replayed(store: Store, tmp_path: Path) -> None:
    dataset = dataset_of(store, tmp_path / "data")
    found = GENERAL.replayed(dataset, ASSETS, {}, rows=4)
    assert [row["text"] for row in found] == [pairs()[n][0] for n in (0, 4, 8, 12)]


Tune = Callable[..., Any]


@pytest.fixture
def tune(few: None, store: Store, tmp_path: Path) -> Tune:
    dataset_of(store, tmp_path / "data")
    save_model(tmp_path / "model", bundle_of(speaking()), store, {})

    def run(model: str = "model", folder: str = "run", **asked: Any) -> Any:
        kinds = {"tuned": dsl.Model, "curves": dsl.Artifact, "metrics": dsl.Metrics, "page": dsl.HTML}
        outputs = {name: kind(uri=str(tmp_path / folder / name)) for name, kind in kinds.items()}
        given = {"dataset": dsl.Dataset(uri=str(tmp_path / "data")), "model": dsl.Model(uri=str(tmp_path / model))}
        fine_tune.python_func(
            **given,
            **outputs,
            head_epochs=0,
            batch_size=8,
            learning_rate=0.02,
            warmup_fraction=0.0,
            ema_decay=0.0,
            **asked,
        )
        return outputs

    return run


def test_fine_tuning_reports_how_far_general_sentences_are_from_the_first_network_s(tune: Tune, tmp_path: Path) -> None:
    untouched = tune(epochs=0)["metrics"].metadata
    assert (untouched["general_chrf"], untouched["general_same_fraction"]) == (100, 1)
    found = tune(epochs=1, folder="tuned")["metrics"].metadata
    assert found["general_chrf"] < 100
    assert found["general_same_fraction"] < 1
    page = (tmp_path / "tuned" / "page").read_text()
    assert f"chrF {found['general_chrf']:.1f} against the answers of the network that training began with" in page
    again = tune(model="tuned/tuned", folder="again", epochs=0)["metrics"].metadata
    assert again["general_chrf"] == found["general_chrf"], "the reference is the first network's, not the tuned one's"
    manifests = [read_manifest(tmp_path / name / "tuned") for name in ("tuned", "again")]
    assert watched_of(manifests[0], TASK) == watched_of(manifests[1], TASK)
