"""A network out of the store is not measured on test rows that it was made with."""

import io
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.adopt.adoption import OwnModel, adopt_model
from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, publish_entries
from components.core.budget import Budget
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.evaluate.bundles import open_as_onnx
from components.evaluate.comparison import EvaluateConfig, evaluate_pair

CLASSES = ["a", "b"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def row(number: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(buffer, "PNG")
    digest = sha256(buffer.getvalue()).hexdigest()
    return {"image": buffer.getvalue(), "label": number % 2, "digest": digest, "source": str(number)}


def dataset(store: Store, path: Path, **splits: range) -> Dataset:
    rows = {name: sorted(map(row, numbers), key=lambda one: one["digest"]) for name, numbers in splits.items()}
    write_dataset(path, rows=get_task("classification").rows, classes=CLASSES, splits=rows, store=store)
    return open_dataset(path, store)


def model(store: Store, path: Path, made_with: Dataset) -> Manifest:
    """A network in the store, as a run records it with the data set that it was trained on."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="x", source="timm:test_resnet", num_outputs=2, task="classification")
    preprocess = Preprocess(image_size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    bundle = ModelBundle(
        module=build(architecture).eval(),
        architecture=architecture,
        assets=ImageAssets(preprocess=preprocess, labels=CLASSES),
    )
    saved = save_model(path, bundle, store, {"stage": "distill", "dataset": made_with.manifest.digest})
    artifacts = {"prepared": made_with.manifest, "distilled": saved}
    outputs = {name: [{"manifest": one.to_json()}] for name, one in artifacts.items()}
    store.journal.write("first", "all", {"output_artifacts": outputs})
    return saved


def asked(saved: Manifest) -> OwnModel:
    return OwnModel(
        model=saved.digest[:12], state=saved.digest, task="classification", architecture="", classes=tuple(CLASSES),
        image_size=0, mean=(), std=(),
    )  # fmt: skip


def config(split: str) -> EvaluateConfig:
    return EvaluateConfig(split=split, threads=1, latency_rounds=2, samples=0, budget=Budget())


def test_test_rows_that_it_was_trained_or_chosen_on_are_left_out_and_counted(store: Store, tmp_path: Path) -> None:
    before = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    now = dataset(store, tmp_path / "b", train=range(40, 50), validation=range(30, 40), test=range(15, 35))
    adopt_model(asked(model(store, tmp_path / "m", before)), now, tmp_path / "adopted", store)
    opened = open_as_onnx(tmp_path / "adopted", store)
    assert opened.seen == {row(number)["digest"] for number in range(15, 30)}
    measured = evaluate_pair(now, opened, opened, config("test"))
    assert (measured.rows, measured.left_out) == (5, 15)
    assert not [text for text in measured.warnings if "trained on" in text]
    # Recipes are compared there, and no figure of that is published.
    chosen = evaluate_pair(now, opened, opened, config("validation"))
    assert (chosen.rows, chosen.left_out) == (10, 0)


def test_on_its_own_data_nothing_is_left_out(store: Store, tmp_path: Path) -> None:
    own = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    saved = model(store, tmp_path / "m", own)
    assert adopt_model(asked(saved), own, tmp_path / "adopted", store).files == saved.files
    assert open_as_onnx(tmp_path / "adopted", store).seen == frozenset()


def test_a_network_that_knows_the_whole_test_split_is_refused_before_anything_is_trained(
    store: Store, tmp_path: Path
) -> None:
    before = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    now = dataset(store, tmp_path / "b", train=range(40, 50), validation=range(30, 40), test=range(10, 20))
    with pytest.raises(UserError, match="all 10 images of the test split were used to train or choose model"):
        adopt_model(asked(model(store, tmp_path / "m", before)), now, tmp_path / "adopted", store)
    assert not (tmp_path / "adopted").exists()


def record(store: Store, run: str, *manifests: dict[str, Any]) -> None:
    store.journal.write(run, "all", {"output_artifacts": {"out": [{"manifest": one} for one in manifests]}})


def test_rows_of_the_data_before_the_last_are_known_too(store: Store, tmp_path: Path) -> None:
    """A network that was adopted, and trained further on other data, still knows what it was first trained on."""
    first = dataset(store, tmp_path / "a", train=range(10), validation=range(10, 15), test=range(15, 20))
    second = dataset(store, tmp_path / "b", train=range(20, 30), validation=range(30, 35), test=range(35, 40))
    now = dataset(store, tmp_path / "c", train=range(40, 50), validation=range(50, 55), test=range(5, 25))
    stock = model(store, tmp_path / "m", first)
    adopted = adopt_model(asked(stock), second, tmp_path / "adopted", store)
    record(store, "second", second.manifest.to_json(), adopted.to_json())
    facts = {**stock.metadata, "dataset": second.manifest.digest, "teacher": adopted.digest}
    tuned = publish_entries(tmp_path / "tuned", kind="model", entries=adopted.files, metadata=facts)
    record(store, "third", tuned.to_json())
    adopt_model(asked(tuned), now, tmp_path / "again", store)
    expected = {row(number)["digest"] for number in [*range(5, 15), *range(20, 25)]}
    assert open_as_onnx(tmp_path / "again", store).seen == expected


def test_a_network_whose_training_data_are_gone_is_as_one_of_unknown_data(store: Store, tmp_path: Path) -> None:
    before = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    saved = model(store, tmp_path / "m", before)
    now = dataset(store, tmp_path / "b", train=range(40, 50), validation=range(30, 40), test=range(15, 35))
    for entry in before.manifest.files:
        (tmp_path / "store" / "blobs" / "sha256" / entry.sha256[:2] / entry.sha256).unlink()
    adopt_model(asked(saved), now, tmp_path / "adopted", store)
    opened = open_as_onnx(tmp_path / "adopted", store)
    assert opened.of_unknown_data
    assert opened.seen == frozenset()


def test_records_of_others_that_cannot_be_read_stop_nobody(store: Store, tmp_path: Path) -> None:
    before = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    saved = model(store, tmp_path / "m", before)
    record(store, "a-later-version", {"format": 9, "kind": "model"}, {"format": 9, "kind": "dataset"})
    store.releases.publish("other", "1", {"model.onnx": b"x", "sources.json": b"{"})
    now = dataset(store, tmp_path / "b", train=range(40, 50), validation=range(30, 40), test=range(15, 35))
    adopt_model(asked(saved), now, tmp_path / "adopted", store)
    assert len(open_as_onnx(tmp_path / "adopted", store).seen) == 15


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b'[["a"]]', b"[1]"])
def test_a_list_of_known_rows_that_is_none_is_one_line(store: Store, tmp_path: Path, content: bytes) -> None:
    before = dataset(store, tmp_path / "a", train=range(20), validation=range(20, 30), test=range(30, 40))
    saved = model(store, tmp_path / "m", before)
    entry = FileEntry(path="seen.json", bytes=len(content), sha256=store.blobs.put(content))
    artifact = tmp_path / "bad"
    publish_entries(artifact, kind="model", entries=[*saved.files, entry], metadata=saved.metadata)
    with pytest.raises(UserError, match=r"seen\.json of the model artifact"):
        open_as_onnx(artifact, store)
