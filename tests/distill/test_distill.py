"""The distill stage, from artifacts to artifacts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.core.artifacts.manifest import read_file, read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.data.dataset import open_dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.architecture import Cut, apply_surgery
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.images.views import student_view
from components.core.training.data import as_tensors
from components.core.training.validation import validate
from components.distill.component import distill
from components.distill.distillation import DistillConfig, distill_bundle

SETTINGS = {
    "epochs": 2, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "recipe": {"name": "r"},
}  # fmt: skip
SMALLER = SETTINGS | {"recipe": {"name": "r", "student_size": 24}}


def config(**changes):
    values = {
        "epochs": 2, "batch_size": 16, "optimizer": "adamw", "learning_rate": 0.003, "schedule": "polynomial",
        "power": 1.0, "step_epochs": 1, "step_gamma": 0.5, "warmup_fraction": 0.0, "momentum": 0.9, "weight_decay": 0.0,
        "layer_decay": 1.0, "ema_decay": 0.0, "precision": "auto", "batch_norm": "frozen", "patience": 0,
        "checkpoint_seconds": 3600, "seed": 0, "student_size": 0, "alpha": 1.0, "temperature": 4.0, "augment": True,
    }  # fmt: skip
    return DistillConfig(**(values | changes))


def preprocess(size, mean=0.5, std=0.25):
    return Preprocess(image_size=size, mean=(mean,) * 3, std=(std,) * 3)


def agreement(teacher, student, images):
    """Mean divergence of the student's answers from the teacher's."""
    with torch.no_grad():
        p, q = teacher(images).log_softmax(1), student(images).log_softmax(1)
    return float((p.exp() * (p - q)).sum(1).mean())


def test_the_student_comes_closer_to_its_teacher_when_only_the_teacher_counts(make_bundle, dataset):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet", seed=1)
    with torch.no_grad():
        teacher.module.classifier.weight.mul_(20)
    [batch] = as_tensors(read_batches(dataset, "validation", teacher.task.transform(teacher.assets), batch_size=16))
    images = batch.inputs["images"]
    before = agreement(teacher.module, student.module, images)
    # Validation is by labels, which this teacher does not know: keep what the last epoch gives.
    dataset.counts["validation"] = 0
    settings = config(epochs=6, learning_rate=0.001)
    distilled, _ = distill_bundle(teacher, student, dataset, settings, report=lambda line: None)
    assert agreement(teacher.module, distilled.module, images) < 0.5 * before


def test_the_teacher_is_used_in_eval_mode_and_not_changed(make_bundle, dataset):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet", seed=1)
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    distill_bundle(teacher, student, dataset, config(epochs=1, batch_norm="train"), report=lambda line: None)
    assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())
    assert not teacher.module.training


def test_a_pruned_student_learns_and_reloads_with_its_surgery(run_stage, dataset_path, make_bundle, save_bundle, store):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet")
    cuts = [
        Cut(module=name, dimension=dimension, kept=tuple(range(40)), total=64)
        for name, dimension in [
            ("blocks.1.0.conv_exp", "out"), ("blocks.1.0.bn1", "out"), ("blocks.1.0.conv_pwl", "in"),
        ]
    ]  # fmt: skip
    apply_surgery(student.module, cuts)
    object.__setattr__(student, "architecture", student.architecture.with_surgery(cuts))
    inputs = {"dataset": dataset_path, "teacher": save_bundle(teacher), "student": save_bundle(student)}
    outputs = run_stage(distill, inputs=inputs, **SETTINGS)
    distilled = load_model(outputs["distilled"].path, store)
    assert distilled.architecture == student.architecture
    assert distilled.module.blocks[1][0].conv_exp.out_channels == 40
    curves = json.loads(read_file(read_manifest(outputs["curves"].path, kind="curves"), "curves.json", store))
    assert [epoch["epoch"] for epoch in curves["epochs"]] == [0, 1, 2]
    assert "T²·KL(teacher ‖ student), T = " in Path(outputs["page"].path).read_text()


def test_a_loss_of_the_task_takes_the_place_of_hintons(
    monkeypatch, run_stage, dataset_path, make_bundle, save_bundle, store
):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet", seed=1)
    asked = []

    def mine(outputs, taught, batch, temperature):
        asked.append((taught.requires_grad, len(batch), temperature))
        return (outputs - taught).square().sum()

    monkeypatch.setattr(type(student.task), "soft_losses", {"mine": mine, "hinton": None})
    inputs = {"dataset": dataset_path, "teacher": save_bundle(teacher), "student": save_bundle(student)}
    same = SETTINGS | {"alpha": 1.0, "temperature": 3.0}
    digests = {}
    for name in ("", "hinton", "mine"):
        outputs = run_stage(distill, inputs=inputs, run_name=f"by {name}", **same, distillation={"distillation": name})
        digests[name] = read_file(read_manifest(outputs["distilled"].path), "weights.safetensors", store)
        said = Path(outputs["page"].path).read_text()
        assert f"T²·KL(teacher ‖ student){name and f' per {name}'}, T = 3" in said
    assert asked == [(False, 16, 3.0)] * len(asked) != []
    assert digests[""] == digests["hinton"] != digests["mine"]


def test_a_loss_that_the_task_does_not_have_is_refused(make_bundle, dataset):
    bundle = make_bundle("timm:test_efficientnet")
    with pytest.raises(UserError, match=r"^unknown distillation 'channel'; image classification has only the default$"):
        distill_bundle(bundle, bundle, dataset, config(settings={"distillation": "channel"}))


@pytest.mark.e2e
def test_two_processes_distill_what_one_would(run_stage, dataset_path, make_bundle, save_bundle, store):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet", seed=1)
    inputs = {"dataset": dataset_path, "teacher": save_bundle(teacher), "student": save_bundle(student)}
    bundles = [
        load_model(
            run_stage(distill, inputs=inputs, run_name=f"{number}", num_processes=number, **SMALLER)["distilled"].path,
            store,
        )
        for number in (1, 2)
    ]
    assert bundles[0].assets == bundles[1].assets
    assert bundles[1].assets.preprocess.image_size == 24
    states = [bundle.module.state_dict() for bundle in bundles]
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    assert (
        max(float((states[0][name] - value).abs().max()) for name, value in student.module.state_dict().items()) > 0.01
    )


def test_a_student_at_a_lower_resolution_says_so_in_its_preprocessing_and_is_validated_at_it(
    run_stage, dataset_path, make_bundle, save_bundle, store
):
    model = save_bundle(make_bundle("timm:test_efficientnet"))
    inputs = {"dataset": dataset_path, "teacher": model, "student": model}
    outputs = run_stage(distill, inputs=inputs, **SMALLER)
    distilled = load_model(outputs["distilled"].path, store)
    assert distilled.assets.preprocess.image_size == 24
    before, after = load_model(model, store).module, distilled.module
    prepared = open_dataset(dataset_path, store)
    task = distilled.task
    batches = as_tensors(read_batches(prepared, "validation", task.transform(distilled.assets), batch_size=16))
    result = validate(distilled.module, batches, task=task, num_classes=2, device=torch.device("cpu"))
    assert result.loss == pytest.approx(outputs["metrics"].metadata["validation_loss"], rel=1e-4)
    # Statistics were measured anew at the new size, although training keeps them frozen.
    assert not torch.equal(before.bn1.running_mean, after.bn1.running_mean)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_what_the_student_sees_is_what_its_own_preprocessing_would_give(interpolation):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 64))).copy()
    smooth[:, :32], smooth[32:] = 0, 255  # edges, at which a cubic filter would leave 0..255
    teacher, student = preprocess(64), replace(preprocess(48, mean=0.4, std=0.2), interpolation=interpolation)
    shown = torch.from_numpy(teacher.normalized(smooth)[None])
    expected = student.normalized(student.resized(Image.fromarray(smooth)))[None]
    seen = student_view(shown, teacher, student).numpy()
    # Both filter alike; only the rounding to whole grey levels differs (1/255 of the range, over a std of 0.2).
    np.testing.assert_allclose(seen, expected, atol=1.01 / 255 / 0.2)


def test_at_the_same_size_and_normalisation_the_student_sees_the_very_same_images():
    images = torch.randn(2, 3, 32, 32)
    assert student_view(images, preprocess(32), preprocess(32)) is images


def test_a_student_larger_than_its_teacher_is_refused():
    task, teacher, student = (
        get_task("classification"),
        *(ImageAssets(preprocess=preprocess(size), labels=["a", "b"]) for size in (64, 48)),
    )
    assert task.student_assets(teacher, student, 0).preprocess.image_size == 64
    with pytest.raises(UserError, match="at most the teacher's 64 pixels, got 65"):
        task.student_assets(teacher, student, 65)


def test_equal_inputs_give_an_equal_digest(run_stage, dataset_path, make_bundle, save_bundle):
    model = save_bundle(make_bundle("timm:test_efficientnet"))
    inputs = {"dataset": dataset_path, "teacher": model, "student": model}
    digests = [
        read_manifest(run_stage(distill, inputs=inputs, run_name=name, **SETTINGS)["distilled"].path).digest
        for name in ("first", "second")
    ]
    assert digests[0] == digests[1]


def test_no_checkpoint_is_left_after_success(run_stage, dataset_path, make_bundle, save_bundle, tmp_path):
    model = save_bundle(make_bundle("timm:test_efficientnet"))
    inputs = {"dataset": dataset_path, "teacher": model, "student": model}
    run_stage(distill, inputs=inputs, **(SETTINGS | {"checkpoint_seconds": 0, "epochs": 1}))
    assert not list((tmp_path / "store").rglob("tensors.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.1}, r"alpha must be between 0 and 1; got 1.1"),
        ({"temperature": 0.0}, "temperature must be greater than 0; got 0.0"),
        ({"recipe": {"name": "r", "student_size": -1}}, "student_size must be between 16 and 2048"),
        ({"recipe": {"student_size": 24}}, "a recipe needs a name"),
        ({"schedule": "linear"}, "schedule must be one of"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_read(run_stage, tmp_path, changes, message):
    nowhere = {name: tmp_path / "nowhere" for name in ("dataset", "teacher", "student")}
    with pytest.raises(UserError, match=message):
        run_stage(distill, inputs=nowhere, **(SETTINGS | changes))


def test_a_teacher_of_other_classes_is_refused(make_bundle, dataset):
    teacher, student = make_bundle("timm:test_efficientnet"), make_bundle("timm:test_efficientnet")
    teacher.assets.labels.reverse()
    with pytest.raises(UserError, match="the teacher predicts 2 classes"):
        distill_bundle(teacher, student, dataset, config())
