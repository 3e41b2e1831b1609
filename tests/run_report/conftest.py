"""A complete run as the stages and the runner would leave it: real store, real manifests, invented measurements."""

import base64
import io
import json
import math
import random
import sys

import pytest
from evaluation_documents import classifier_details, evaluation, metric_result, model, sample, verdict
from PIL import Image

from components.core.artifacts.manifest import publish, read_manifest
from components.core.budget import Check
from components.core.evaluation.document import encode_evaluation
from components.core.store import open_store

CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
RECIPES = [
    {"name": "80% MACs", "macs_fraction": 0.8, "student_size": 0},
    {"name": "65% MACs", "macs_fraction": 0.65, "student_size": 0},
    {"name": "50% MACs", "macs_fraction": 0.5, "student_size": 0},
]


def measured(
    *, split, top1, size_bytes, latency, macs, checks=(), samples=(), rows=2000, classes=CLASSES, warnings=(), **asked
):
    """The evaluation of a candidate against one fixed baseline."""
    return evaluation(
        split=split,
        rows=rows,
        metrics=(metric_result(top1, 0.9245),),
        candidate=model(
            latency=latency, size_bytes=size_bytes, macs=macs, parameters=size_bytes,
            details=classifier_details(top1, classes, images=2000),
        ),
        baseline=model(
            digest="b" * 64, scheme="float32", latency=2.31, batch32=1.2 * 2.31 * 20, size_bytes=13_480_000,
            macs=33_100_000, parameters=3_380_000, details=classifier_details(0.9245, classes, images=2000),
        ),
        verdict=verdict(*checks),
        samples=tuple(samples), warnings=tuple(warnings), **asked,
    )  # fmt: skip


def samples(number=18, classes=CLASSES):
    """Small PNG images with predictions, one in six wrong."""
    found = []
    for index in range(number):
        picture = Image.new("L", (28, 28), 20)
        for x in range(28):
            for y in range(28):
                wave = math.sin(x / (2 + index % 5)) + math.cos(y / (2 + index % 3))
                picture.putpixel((x, y), int(90 + 60 * wave))
        data = io.BytesIO()
        picture.save(data, "PNG")
        label = classes[index % len(classes)]
        wrong = classes[(index + 1) % len(classes)]
        shown = wrong if index % 6 == 5 else label
        found.append(sample(index, label, shown, base64.b64encode(data.getvalue()).decode()))
    return found


def curves(*, start, end, epochs, loss=1.2):
    """curves.json of a training that goes from `start` to `end`."""
    return {
        "format": 2,
        "metric": {"name": "top1", "label": "top-1", "percent": True},
        "steps": [],
        "epochs": [
            {
                "epoch": epoch,
                "train_loss": None if epoch == 0 else loss * math.exp(-epoch / 3) + 0.5,
                "validation_loss": 0.9 * loss * math.exp(-epoch / 4) + 0.4,
                "validation_metric": end - (end - start) * math.exp(-epoch / 1.7),
            }
            for epoch in range(epochs + 1)
        ],
        "phases": [{"name": "all", "epochs": epochs}],
        "best_epoch": epochs,
    }


RANKING = {
    "format": 1,
    "chosen": "efficientnet_lite0",
    "reason": "efficientnet_lite0 and efficientnet_lite1 are within one standard error; the former has fewer MACs.",
    "image_size": 64,
    "images_used": 2000,
    "candidates": [
        {
            "name": f"efficientnet_lite{number}",
            "architecture": f"timm:tf_efficientnet_lite{number}",
            "parameters": parameters,
            "macs": macs,
            "size_mb": 4 * parameters / 1e6,
            "latency_ms": latency,
            "top1_published": published,
            "knn_accuracy": knn,
            "knn_standard_error": None if knn is None else 0.009,
            "logme": logme,
            "static_rank": number + 1,
            "transfer_rank": rank,
            "rejected": rejected,
        }
        for number, parameters, macs, latency, published, knn, logme, rank, rejected in [
            (0, 3_380_000, 33_100_000, 2.3, 0.7548, 0.812, 0.431, 2, None),
            (1, 4_160_000, 51_000_000, 3.4, 0.7667, 0.817, 0.437, 1, None),
            (2, 4_870_000, 72_500_000, 4.6, 0.7746, None, None, None, "4.6 ms is above max_latency_ms 4"),
        ]
    ],
}


class FakeRun:
    """Writes journal records one after the other; `finish` is up to the test."""

    def __init__(self, store, folder, run_id="2026-01-31-a1b2"):
        self.store, self.folder, self.run_id = store, folder, run_id
        self.clock = 1_770_000_000.0

    def artifact(self, name, kind, files, metadata=None):
        """An output artifact as it stands in a journal record."""
        path = self.folder / f"{name}-{self.clock}-{random.random()}"
        publish(path, kind=kind, files=files, metadata=metadata or {}, store=self.store)
        document = read_manifest(path).to_json()
        return {name: [{"type": "system.Artifact", "uri": "file:///elsewhere", "metadata": {}, "manifest": document}]}

    def task(self, path, component, seconds, *, after=(), artifacts=None, status="succeeded", at=None, **record):
        """One journal record, at the clock or `at` seconds after the run's start."""
        started = self.clock if at is None else 1_770_000_000.0 + at
        self.clock = max(self.clock, started + seconds)
        full = {
            "task": path,
            "component": component,
            "status": status,
            "cached": False,
            "started": started,
            "ended": started + seconds,
            "seconds": seconds,
            "depends_on": list(after),
            "iteration": None,
            "parameters": {},
            "output_parameters": {},
            "output_artifacts": artifacts or {},
            "input_artifacts": {},
            "error": None,
            "log": None,
        }
        self.store.journal.write(self.run_id, path, {**full, **record})


def dataset_artifact(run, classes=CLASSES):
    """The prepared data, with three quarantined files."""
    quarantine = {
        "format": 1,
        "files": [
            {"source": "boots/broken.jpg", "label": "boots", "reason": "truncated", "detail": "ends after 1204 bytes"},
            {"source": "boots/notes.txt", "label": "boots", "reason": "not an image", "detail": ""},
            {"source": "sandals/empty.png", "label": None, "reason": "empty", "detail": ""},
        ],
        "duplicates": [{"source": "bags/copy.png", "kept": "bags/1.png"}],
    }
    metadata = {
        "task": "classification",
        "classes": list(classes),
        "counts": {"train": 4800, "validation": 1200, "test": 2000},
        "class_counts": {},
        "fingerprint": "f" * 64,
    }
    files = {"train-00000.parquet": b"rows", "quarantine.json": json.dumps(quarantine).encode()}
    return run.artifact("prepared", "dataset", files, metadata)


def run_until_distill(run, classes=CLASSES, recipes=RECIPES):
    """Everything up to the distilled students."""
    root = "exit-handler-1"
    prepared = dataset_artifact(run, classes)
    run.task(f"{root}/preflight", "preflight", 0.4, parameters={"dataset": "demo", "seed": 0})
    run.task(f"{root}/data-prep", "data_prep", 6.2, after=[f"{root}/preflight"], artifacts=prepared)
    ranking = run.artifact("ranking", "ranking", {"ranking.json": json.dumps(RANKING).encode()})
    run.task(f"{root}/backbone-selection", "backbone_selection", 21.0, after=[f"{root}/data-prep"], artifacts=ranking)
    tuned = run.artifact(
        "curves", "curves", {"curves.json": json.dumps(curves(start=0.5, end=0.915, epochs=3)).encode()}
    )
    run.task(
        f"{root}/fine-tune",
        "fine_tune",
        95.0,
        after=[f"{root}/backbone-selection", f"{root}/data-prep"],
        artifacts=tuned,
    )
    loop = f"{root}/for-loop-1"
    begin = run.clock - 1_770_000_000.0
    longer = json.dumps(curves(start=0.91, end=0.926, epochs=4)).encode()
    run.task(
        f"{root}/baseline",
        "comp-fine-tune-2",
        120.0,
        after=[f"{root}/fine-tune"],
        at=begin,
        artifacts=run.artifact("curves", "curves", {"curves.json": longer}, {"stage": "baseline"}),
    )
    for number, recipe in enumerate(recipes):
        lane, start = f"{loop}/[{number}]", begin + 90 * (number // 2) + 4 * number
        run.task(f"{lane}/prune", "prune", 7.0, after=[f"{root}/fine-tune"], at=start, iteration=recipe)
        content = json.dumps(curves(start=0.7, end=0.92 - 0.008 * number, epochs=4, loss=2 + number)).encode()
        run.task(
            f"{lane}/distill",
            "distill",
            70.0,
            after=[f"{lane}/prune", f"{root}/baseline"],
            at=start + 7,
            iteration=recipe,
            artifacts=run.artifact("curves", "curves", {"curves.json": content}, {"recipe": number}),
        )
    return root, loop, begin


def complete_run(run, *, classes=CLASSES, checks=None, warnings=(), **asked):
    """A whole successful run; `asked` are further fields of its evaluation on test data."""
    from components.choose.decision import decide_recipe
    from components.core.budget import Budget

    root, loop, begin = run_until_distill(run, classes)
    evaluations = []
    for number, recipe in enumerate(RECIPES):
        lane, start = f"{loop}/[{number}]", begin + 90 * (number // 2) + 4 * number + 77
        content = measured(
            split="validation",
            top1=0.9215 - 0.0065 * number,
            size_bytes=2_950_000 - 480_000 * number,
            latency=1.32 - 0.17 * number,
            macs=26_500_000 - 5_000_000 * number,
            rows=1200,
        )
        evaluations.append(content)
        run.task(f"{lane}/quantize", "quantize", 9.0, after=[f"{lane}/distill"], at=start, iteration=recipe)
        run.task(
            f"{lane}/evaluate",
            "evaluate",
            8.0,
            after=[f"{lane}/quantize", f"{root}/baseline"],
            at=start + 9,
            iteration=recipe,
            artifacts=run.artifact("evaluation", "evaluation", {"evaluation.json": encode_evaluation(content)}),
        )
    decision = decide_recipe(evaluations, RECIPES, Budget(max_drop=1.5))
    run.task(
        f"{root}/choose",
        "choose",
        0.6,
        after=[f"{loop}/[{number}]/evaluate" for number in range(len(RECIPES))],
        artifacts=run.artifact("decision", "decision", {"decision.json": json.dumps(decision).encode()}),
    )
    if checks is None:
        checks = [Check(limit="max_drop", allowed=1.5, measured=0.83, met=True)]
    final = measured(
        split="test",
        top1=0.9162,
        size_bytes=2_470_000,
        latency=1.15,
        macs=21_500_000,
        checks=checks,
        samples=samples(classes=classes),
        classes=classes,
        warnings=warnings,
        **asked,
    )
    run.task(
        f"{root}/evaluate-2",
        "comp-evaluate-2",
        14.0,
        after=[f"{root}/choose", f"{root}/baseline"],
        artifacts=run.artifact("evaluation", "evaluation", {"evaluation.json": encode_evaluation(final)}),
    )
    released = run.artifact(
        "release",
        "release",
        {"model.onnx": b"onnx", "labels.json": b"[]", "model_card.md": b"# card"},
        {
            "name": "model",
            "version": "3fa9c21b77aa",
            "digest": "3fa9c21b77aa" + "0" * 52,
            "uri": "/store/releases/model/3f",
        },
    )
    run.task(f"{root}/export", "export", 5.0, after=[f"{root}/evaluate-2"], artifacts=released)


def failed_run(run, log):
    """A run in which the second student's distillation failed."""
    root, loop, begin = run_until_distill(run)
    log.write_text("".join(f"step {step}\n" for step in range(200)) + "RuntimeError: loss is not finite\n")
    lane = f"{loop}/[1]"
    run.task(
        f"{lane}/distill",
        "distill",
        31.0,
        after=[f"{lane}/prune"],
        at=begin + 11,
        status="failed",
        iteration=RECIPES[1],
        error="loss is not finite at step 31; try a lower distill_learning_rate",
        log=str(log),
    )
    run.task(f"{root}/choose", "choose", 0.0, after=[f"{lane}/distill"], status="skipped")
    run.task(f"{root}/export", "export", 0.0, after=[f"{root}/choose"], status="skipped")


@pytest.fixture
def store(tmp_path, monkeypatch):
    uri = str(tmp_path / "store")
    monkeypatch.setenv("TRIMTAB_STORE", uri)
    return open_store(uri)


@pytest.fixture
def run(store, tmp_path):
    return FakeRun(store, tmp_path / "artifacts")


@pytest.fixture
def runs():
    """This file's builders: with importlib's mode a test cannot import its conftest."""
    return sys.modules[__name__]
