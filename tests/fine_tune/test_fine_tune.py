"""The fine_tune stage on real images, from artifacts to artifacts."""

import json
from pathlib import Path

import pytest
import torch

from components.core.artifacts.manifest import read_file, read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.errors import UserError
from components.fine_tune.component import fine_tune

SETTINGS = {
    "epochs": 3, "head_epochs": 2, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "batch_norm": "train", "label_smoothing": 0.0, "warmup_fraction": 0.0,
}  # fmt: skip


@pytest.fixture
def model_path(make_bundle, save_bundle):
    return save_bundle(make_bundle("timm:test_efficientnet"))


@pytest.fixture
def tune(run_stage, dataset_path, model_path):
    def run(**changes):
        name = changes.pop("run_name", "run")
        inputs = {"dataset": changes.pop("dataset", dataset_path), "model": changes.pop("model", model_path)}
        return run_stage(fine_tune, inputs=inputs, run_name=name, **(SETTINGS | changes))

    return run


def test_it_learns_the_data_and_hands_on_a_model_that_reloads(tune, store, model_path):
    outputs = tune(epochs=8)
    before, tuned = load_model(model_path, store), load_model(outputs["tuned"].path, store)
    assert outputs["metrics"].metadata["validation_top1"] >= 0.9
    assert (tuned.architecture, tuned.assets) == (before.architecture, before.assets)
    assert not torch.equal(tuned.module.conv_stem.weight, before.module.conv_stem.weight)


def test_its_curves_hold_every_step_and_epoch_and_its_page_shows_them(tune, store):
    outputs = tune()
    curves = json.loads(read_file(read_manifest(outputs["curves"].path, kind="curves"), "curves.json", store))
    assert curves["format"] == 2
    assert [step["step"] for step in curves["steps"]] == list(range(12))  # 64 images, batches of 16, 3 epochs
    assert [epoch["epoch"] for epoch in curves["epochs"]] == [0, 1, 2, 3]
    assert curves["metric"] == {"name": "top1", "label": "top-1", "percent": True}
    assert [phase["name"] for phase in curves["phases"]] == ["head", "network"]
    page = Path(outputs["page"].path).read_text()
    assert "<svg" in page
    assert "Validation top-1" in page


def test_the_same_inputs_give_the_same_digest_and_another_seed_another(tune):
    digests = [
        read_manifest(tune(run_name=f"run{n}", seed=seed)["tuned"].path).digest for n, seed in enumerate([0, 0, 1])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_without_head_epochs_training_goes_on_from_the_model_as_it_is(tune, store):
    first = tune(epochs=8)
    second = tune(epochs=1, head_epochs=0, learning_rate=1e-5, model=Path(first["tuned"].path), run_name="further")
    curves = json.loads(read_file(read_manifest(second["curves"].path), "curves.json", store))
    assert curves["epochs"][0]["validation_metric"] == first["metrics"].metadata["validation_top1"]
    assert [phase["name"] for phase in curves["phases"]] == ["network"]


def test_frozen_batch_norms_keep_their_statistics_and_train_their_scales(tune, store, model_path, make_dataset):
    before = load_model(model_path, store).module
    last_is_kept = make_dataset(validation=0)
    tuned = load_model(tune(batch_norm="frozen", dataset=last_is_kept)["tuned"].path, store).module
    assert torch.equal(before.bn1.running_mean, tuned.bn1.running_mean)
    assert not torch.equal(before.bn1.weight, tuned.bn1.weight)


def test_label_smoothing_enters_the_training_loss(tune, store):
    losses = []
    for number, smoothing in enumerate([0.0, 0.5]):
        outputs = tune(run_name=f"run{number}", head_epochs=0, epochs=1, label_smoothing=smoothing)
        curves = json.loads(read_file(read_manifest(outputs["curves"].path), "curves.json", store))
        losses.append(curves["steps"][0]["loss"])
    assert losses[0] != losses[1]


def test_no_checkpoint_is_left_after_success(tune, store, tmp_path):
    tune(checkpoint_seconds=0)
    assert not list((tmp_path / "store").rglob("tensors.safetensors"))


def test_a_data_set_without_validation_images_still_trains(tune, make_dataset):
    outputs = tune(dataset=make_dataset(validation=0))
    assert outputs["metrics"].metadata["best_epoch"] == 3
    assert "validation_top1" not in outputs["metrics"].metadata
    assert "last epoch was kept" in Path(outputs["page"].path).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"head_epochs": -1}, "head_epochs must be at least 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and less than 1"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_read(run_stage, tmp_path, changes, message):
    nowhere = {"dataset": tmp_path / "nowhere", "model": tmp_path / "nowhere"}
    with pytest.raises(UserError, match=message):
        run_stage(fine_tune, inputs=nowhere, **changes)


def test_a_training_split_of_one_image_is_refused(tune, make_dataset):
    with pytest.raises(UserError, match="training needs at least 2 images; the training split holds 1"):
        tune(dataset=make_dataset(train=1), head_epochs=0)
