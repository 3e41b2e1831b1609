"""The teach stage: the teacher's answers as targets, in parts that are kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kfp import dsl
from toy_translators import SMALL, network
from trained_vocabulary import pairs, vocabulary_of

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.base import Answer
from components.core.tasks.classification.task import Classification
from components.core.tasks.translation.assets import TranslationAssets
from components.teach import teaching
from components.teach.component import teach
from components.teach.teaching import answered_parts, kept_rows

TRAIN, BEAM, PART = 42, 3, 10
SLICES = ("product",)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(teaching, "PART_ROWS", PART)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def dataset(store: Store, tmp_path: Path) -> Dataset:
    rows = [
        {"text": text, "translation": translation, "digest": f"{number:064x}", "source": f"row {number}",
         "slice:product": "writer" if number % 2 else None}
        for number, (text, translation) in enumerate(pairs())
    ]  # fmt: skip
    splits = {"train": rows[:TRAIN], "validation": rows[TRAIN : TRAIN + 8], "test": rows[TRAIN + 8 :]}
    write_dataset(
        tmp_path / "data", rows=get_task("translation").rows, classes=[], splits=splits, store=store,
        metadata={"languages": ["en", "pt-BR"]}, slice_columns=SLICES,
    )  # fmt: skip
    return open_dataset(tmp_path / "data", store)


@pytest.fixture
def teacher(store: Store, tmp_path: Path) -> ModelBundle:
    """Random weights, and a liking for short sentences."""
    config = replace(SMALL, source_size=400, target_size=400)
    module = network(config)
    with torch.no_grad():
        module.output_bias[config.eos] += 6
    architecture = Architecture(
        backbone="toy", source="marian:transformer", num_outputs=400, task="translation", options=config.to_json()
    )
    assets = TranslationAssets(vocabulary=vocabulary_of(), source_language="en", target_language="pt-BR")
    save_model(tmp_path / "teacher", ModelBundle(module=module, architecture=architecture, assets=assets), store, {})
    return load_model(tmp_path / "teacher", store)


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, dataset: Dataset, teacher: ModelBundle) -> Run:
    def stage(name: str, **parameters: Any) -> dict[str, Any]:
        given = {one: dsl.Artifact(uri=str(tmp_path / folder)) for one, folder in
                 (("dataset", "data"), ("teacher", "teacher"))}  # fmt: skip
        made = {"taught": dsl.Dataset, "metrics": dsl.Metrics, "page": dsl.HTML}
        outputs = {one: kind(uri=str(tmp_path / name / one)) for one, kind in made.items()}
        teach.python_func(**given, **outputs, **parameters)
        return outputs

    return stage


def test_training_rows_have_the_answers_but_the_worst_in_twenty_and_all_else_is_as_it_was(
    run: Run, dataset: Dataset, teacher: ModelBundle, store: Store, tmp_path: Path
) -> None:
    outputs = run("taught", teacher_beam=BEAM)
    rows = list(dataset.iterate("train"))
    answers = teacher.task.teacher_answers(teacher.module, teacher.assets, beam=BEAM)
    parts = [rows[start : start + PART] for start in range(0, TRAIN, PART)]
    expected = [pair for part in parts for pair in zip(part, answers(part), strict=True)]
    answered = [(row, answer) for row, answer in expected if np.isfinite(answer.loss)]
    worst = sorted((answer.loss for _, answer in expected), reverse=True)[: TRAIN // 20]
    kept = [row | answer.target for row, answer in answered if answer.loss not in worst]
    assert 20 < len(kept) < TRAIN
    made = open_dataset(tmp_path / "taught" / "taught", store)
    assert list(made.iterate("train")) == kept
    assert sum(row["translation"] != label["translation"] for row, label in zip(kept, rows, strict=False)) > 20
    for split in ("validation", "test"):
        assert list(made.iterate(split)) == list(dataset.iterate(split))
        assert made.manifest.entry(f"{split}-00000.parquet") == dataset.manifest.entry(f"{split}-00000.parquet")
    facts = outputs["metrics"].metadata
    assert facts["answered"] == TRAIN
    assert facts["dropped"] == TRAIN - len(kept)
    assert facts["unanswered"] == TRAIN - len(answered)
    assert made.manifest.metadata["languages"] == ["en", "pt-BR"]
    assert made.manifest.metadata["dataset"] == dataset.manifest.digest
    assert made.manifest.metadata["teacher"] == read_manifest(tmp_path / "teacher").digest
    assert made.fingerprint != dataset.fingerprint
    assert made.slices["product"]["writer"]["test"] == dataset.slices["product"]["writer"]["test"]
    page = (tmp_path / "taught" / "page").read_text()
    assert f"{len(kept)} training sentence pairs have the teacher&#39;s answers" in page
    assert kept[0]["translation"] in page
    assert not list((tmp_path / "store" / "checkpoints").rglob("*.json")), "no checkpoint is left"


def test_killed_and_started_again_it_goes_on_and_gives_the_same_bytes(
    run: Run, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run("first", teacher_beam=BEAM)["taught"].metadata["digest"]
    task, asked = type(get_task("translation")), []
    answers_of = task.teacher_answers

    def dies_after(parts: int) -> None:
        def teacher_answers(self: Any, module: Any, assets: Any, *, beam: int) -> Any:
            answers = answers_of(self, module, assets, beam=beam)

            def answer(rows: Any) -> Any:
                if len(asked) == parts:
                    raise KeyboardInterrupt
                asked.append(rows[0]["digest"])
                return answers(rows)

            return answer

        monkeypatch.setattr(task, "teacher_answers", teacher_answers)

    for parts in (2, 3):
        dies_after(parts)
        with pytest.raises(KeyboardInterrupt):
            run(f"killed after {parts}", teacher_beam=BEAM)
    dies_after(100)
    again = run("again", teacher_beam=BEAM)["taught"].metadata["digest"]
    firsts = [row["digest"] for row in list(dataset.iterate("train"))[::PART]]
    assert asked == firsts, "each part was answered once"
    assert again == undisturbed
    files = [read_manifest(tmp_path / name / "taught").files for name in ("first", "again")]
    assert files[0] == files[1]


def test_where_a_part_is_gone_from_the_store_all_are_answered_again(
    run: Run, dataset: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = run("first", teacher_beam=BEAM)["taught"].metadata["digest"]
    key = []
    clear = type(store.checkpoints).clear
    monkeypatch.setattr(type(store.checkpoints), "clear", lambda self, name: key.append(name))
    run("second", teacher_beam=BEAM)
    monkeypatch.setattr(type(store.checkpoints), "clear", clear)
    store.checkpoints.save(key[0], {"parts.json": b'["' + b"0" * 64 + b'"]'})
    assert run("third", teacher_beam=BEAM)["taught"].metadata["digest"] == digest


def test_without_a_beam_the_data_set_is_handed_on(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    outputs = run("handed", teacher_beam=0)
    assert outputs["taught"].metadata["digest"] == dataset.manifest.digest
    assert "The labels are used as they are" in (tmp_path / "handed" / "page").read_text()


def test_replay_adds_the_teacher_s_own_answers_evenly_and_leaves_all_else_as_it_was(
    run: Run, dataset: Dataset, teacher: ModelBundle, store: Store, tmp_path: Path
) -> None:
    outputs = run("replayed", replay_fraction=0.25)
    made = open_dataset(tmp_path / "replayed" / "taught", store)
    rows, given = list(made.iterate("train")), list(dataset.iterate("train"))
    new = [row for row in rows if row["source"] == "training sources"]
    assert [row for row in rows if row not in new] == given
    facts = outputs["metrics"].metadata
    assert facts["replayed"] == len(new)
    assert len(new) + facts["unanswered"] == 14
    assert facts["replayed_fraction"] == pytest.approx(len(new) / len(rows), abs=1e-5)
    places = [place for place, row in enumerate(rows) if row in new]
    assert len(new) >= 5
    assert max(np.diff([-1, *places])) <= -(-TRAIN // len(new)) + 1, "a shard is a sample of its split"
    answers = teacher.task.teacher_answers(teacher.module, teacher.assets, beam=1)
    wanted = [answer for answer in answers([row | {"translation": ""} for row in given[::3]]) if answer.loss < np.inf]
    assert [row["translation"] for row in new] == [answer.target["translation"] for answer in wanted]
    assert {row["slice:product"] for row in new} == {None}
    assert len({row["digest"] for row in rows}) == len(rows)
    for split in ("validation", "test"):
        assert made.manifest.entry(f"{split}-00000.parquet") == dataset.manifest.entry(f"{split}-00000.parquet")
    assert made.manifest.metadata["languages"] == ["en", "pt-BR"]
    page = (tmp_path / "replayed" / "page").read_text()
    assert f"{len(new)} training sentence pairs have the answers of the network before tuning" in page
    again = run("again", replay_fraction=0.25)["taught"].metadata["digest"]
    assert again == outputs["taught"].metadata["digest"]
    assert not list((tmp_path / "store" / "checkpoints").rglob("*.json")), "no checkpoint is left"


def test_replay_without_an_input_a_second_teacher_and_another_task_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^give teacher_beam or replay_fraction, not both"):
        run("both", replay_fraction=0.25, teacher_beam=2)
    with pytest.raises(UserError, match=r"^replay_fraction must be between 0 and 0.9; got 1$"):
        run("whole", replay_fraction=1)
    held = pairs()[TRAIN][0]
    (tmp_path / "own.txt").write_text(f"Watched.\n{held}\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"^replay_fraction 0.25 adds no row: the network answered none of the 0 inputs$"
    ):
        run("nothing", replay_fraction=0.25, settings={"general_sentences": str(tmp_path / "own.txt")})
    monkeypatch.setattr(type(get_task("translation")), "general", None)
    with pytest.raises(UserError, match=r"^replay_fraction must be 0 for machine translation, which has nothing to"):
        run("refused", replay_fraction=0.25)


def test_a_task_whose_labels_are_no_sequences_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_task("translation")), "teacher_answers", Classification.teacher_answers)
    with pytest.raises(UserError, match=r"^teacher_beam must be 0 for machine translation, whose labels are not seq"):
        run("refused", teacher_beam=2)


def test_a_teacher_without_any_answer_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(self: Any, module: Any, assets: Any, *, beam: int) -> Any:
        return lambda rows: [Answer({"translation": row["translation"]}, float("inf")) for row in rows]

    monkeypatch.setattr(type(get_task("translation")), "teacher_answers", silent)
    with pytest.raises(UserError, match="no answer for any of the 42 training sentence pairs"):
        run("silent", teacher_beam=2)


def test_the_worst_are_dropped_by_their_loss_and_later_ones_first() -> None:
    losses = np.random.default_rng(0).permutation(100).astype(float)
    assert losses[~kept_rows(losses)].tolist() == [loss for loss in losses if loss >= 95]
    equal = np.zeros(40)
    assert np.flatnonzero(~kept_rows(equal)).tolist() == [38, 39]
    assert kept_rows(np.array([1.0] * 19)).all()
    some = np.array([np.inf] * 3 + [0.0] * 17)
    assert np.flatnonzero(~kept_rows(some)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"[5]", b"x"])
def test_a_list_of_parts_of_another_form_is_one_line(store: Store, content: bytes) -> None:
    store.checkpoints.save("a" * 64, {"parts.json": content})
    with pytest.raises(UserError, match=r"parts\.json of checkpoint a{12} is damaged") as caught:
        answered_parts([], 0, get_task("translation").rows, lambda rows: [], store, key="a" * 64)
    assert len(str(caught.value)) < 300
