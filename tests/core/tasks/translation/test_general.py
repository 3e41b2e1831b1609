"""General sentences: what a training did to translations outside of its domain."""

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

from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.data.dataset import write_dataset
from components.core.models.architecture import Architecture
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.translation import general
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.general import compared, general_sentences, watch
from components.fine_tune.component import fine_tune

ASSETS = TranslationAssets(vocabulary=vocabulary_of(), source_language="en", target_language="pt-BR")
CONFIG = replace(SMALL, source_size=400, target_size=400)


def speaking(seed: int = 0) -> torch.nn.Module:
    """Random weights, and a liking for short sentences."""
    module = network(CONFIG, seed)
    with torch.no_grad():
        module.output_bias[CONFIG.eos] += 4
    return module


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(general, "general_sentences", lambda language: general_sentences(language)[:6])


def test_the_sample_is_of_distinct_sentences_in_the_source_language_alone() -> None:
    sentences = general_sentences("en-GB")
    assert len(set(sentences)) == len(sentences) == 64
    assert all(sentence == sentence.strip() and len(sentence.split()) >= 6 for sentence in sentences)
    assert general_sentences("xx") == ()
    assert watch(speaking(), replace(ASSETS, source_language="xx")) is None


def test_the_change_is_chrf_against_the_answers_before() -> None:
    before, after = ["uma casa azul", "o gato dorme", "sim"], ["uma casa verde", "o gato dorme", "sim"]
    change = compared(before, after)
    assert change.figures["general_chrf"] == pytest.approx(corpus_chrf(after, [before]).score)
    assert change.figures["general_same_fraction"] == pytest.approx(2 / 3)
    assert "67% of 3 general sentences the same" in change.text


def test_a_network_that_is_left_alone_has_not_changed_and_another_one_has() -> None:
    change = watch(speaking(), ASSETS)
    assert change is not None
    assert change(speaking()).figures == {"general_chrf": pytest.approx(100), "general_same_fraction": 1}
    assert change(speaking(seed=1)).figures["general_chrf"] < 50


Tune = Callable[..., Any]


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store = open_store(str(tmp_path / "store"))
    rows = [
        {"text": text, "translation": translation, "digest": f"{number:064x}", "source": str(number)}
        for number, (text, translation) in enumerate(pairs())
    ]
    write_dataset(
        tmp_path / "data", rows=get_task("translation").rows, classes=[], store=store,
        splits={"train": rows[:16]}, metadata={"languages": ["en", "pt-BR"]},
    )  # fmt: skip
    architecture = Architecture(
        backbone="toy", source="marian:transformer", num_outputs=400, task="translation", options=CONFIG.to_json()
    )
    save_model(tmp_path / "model", ModelBundle(module=speaking(), architecture=architecture, assets=ASSETS), store, {})

    def run(**asked: Any) -> Any:
        kinds = {"tuned": dsl.Model, "curves": dsl.Artifact, "metrics": dsl.Metrics, "page": dsl.HTML}
        outputs = {name: kind(uri=str(tmp_path / "run" / name)) for name, kind in kinds.items()}
        given = {"dataset": dsl.Dataset(uri=str(tmp_path / "data")), "model": dsl.Model(uri=str(tmp_path / "model"))}
        fine_tune.python_func(**given, **outputs, head_epochs=0, batch_size=8, **asked)
        return outputs

    return run


@pytest.mark.parametrize("epochs", [0, 1])
def test_fine_tuning_reports_what_became_of_general_sentences(tune: Tune, tmp_path: Path, epochs: int) -> None:
    outputs = tune(epochs=epochs, learning_rate=0.02, warmup_fraction=0.0, ema_decay=0.0)
    found = outputs["metrics"].metadata
    assert (found["general_chrf"] == 100) is (found["general_same_fraction"] == 1) is (epochs == 0)
    page = (tmp_path / "run" / "page").read_text()
    assert f"chrF {found['general_chrf']:.1f} against its own answers before" in page
