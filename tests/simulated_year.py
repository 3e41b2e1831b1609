"""A year of weekly retraining with the real stages around a stand-in for the training. Used by tests/e2e/test_year.py.

Real: incumbent, data_prep, drift, decide, evaluate (four times), judge, the release's files, promote, and the store.
Stand-in: what `fine_tune` and `search` would train is a linear head on the mean of each colour channel, fitted by least
squares on the training split and written as ONNX, so that a week costs a second and a training can be made to fail.
"""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from kfp import dsl
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from components.core.artifacts.manifest import publish, read_file, read_manifest
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx, save_onnx
from components.core.data.dataset import Dataset, open_dataset
from components.core.evaluation.document import read_evaluation
from components.core.models.architecture import Architecture
from components.core.store import Store
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.data_prep.component import data_prep
from components.decide.component import decide
from components.drift.component import drift
from components.evaluate.component import evaluate
from components.export.assembly import assemble
from components.export.release import publish_release
from components.export.verification import Verification
from components.incumbent.component import incumbent
from components.judge.component import judge

CLASSES = ("blue", "green", "red")
CHANNEL = {"red": 0, "green": 1, "blue": 2}
SIDE = 16
PREPROCESS = Preprocess(image_size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ASSETS = ImageAssets(preprocess=PREPROCESS, labels=list(CLASSES))
POLICY: dict[str, Any] = {
    "action": "auto",
    "min_new_images": 40,
    "max_quarantined": 0.05,
    "min_growth": 0.25,
    # Two tests a week at the default of 0.01 are one false alarm per year; this year must have none.
    "drift_alpha": 0.001,
    "label_shift": 0.1,
    "large_label_shift": 0.3,
    "feature_drift": 0.7,
    "large_feature_drift": 0.8,
}
# About 100 test images: even where two models agree on all of them, a loss of z²/(n + z²) = 3.7 points is possible.
MARGINS = {"max_loss": 5.0, "max_class_loss": 5.0, "max_slice_loss": 5.0}


def picture(rng: np.random.Generator, label: str) -> bytes:
    """A noisy PNG in which the class's channel is brighter; no two are equal."""
    pixels = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, :, CHANNEL[label]] += np.uint8(rng.integers(60, 130))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Week:
    """The result of one week's run. `new_bytes`: of the images that arrived; `grown_bytes`: of the store.

    `judgement`: judgement.json, of a week with a contest.
    """

    action: str = ""
    attention: bool = False
    verdict: str = ""
    reason: str = ""
    new_bytes: int = 0
    grown_bytes: int = 0
    judgement: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pending:
    """A challenger that is judged and released, before the swap."""

    release: Path
    judgement: Path
    state: str
    run_id: str


@dataclass
class Year:
    """Data, store and the runs so far."""

    folder: Path
    store: Store
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def deliver(self, week: int, labels: list[str], *, broken: bool = False) -> int:
        """A week's images, into the folder that grows; returns their bytes. Broken ones end before they should."""
        total = 0
        for number, label in enumerate(labels):
            image = picture(self.rng, label)
            path = self.data / label / f"week-{week:02d}-{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image[: len(image) // 2] if broken else image)
            total += len(image)
        return total

    def stored_bytes(self) -> int:
        return sum(path.stat().st_size for path in Path(self.store.uri).rglob("*") if path.is_file())

    def first_champion(self) -> None:
        """Done once, by a person: a release of the first data, promoted by hand."""
        run = _Run(self.folder / "runs" / "first")
        run.call(
            data_prep, {"prepared": dsl.Dataset, "metrics": dsl.Metrics, "page": dsl.HTML}, **self._data_settings()
        )
        name, version = self._release(run, train(run.dataset(self.store)), judgement=None)
        self.store.champions.promote(name, version, who="ann", why="the first one")

    def run(self, week: int, *, bad_training: bool = False) -> tuple[Week, Pending | None]:
        """A week's retraining up to the swap; the second is None if there is nothing to promote."""
        run = _Run(self.folder / "runs" / f"{week:02d}")
        before = self.stored_bytes()
        current = run.call(
            incumbent,
            {
                "served": dsl.Model, "model": dsl.Model, "reference": dsl.Dataset, "latest": dsl.Dataset,
                "anchor_served": dsl.Model, "anchor_reference": dsl.Dataset, "year_served": dsl.Model,
                "year_reference": dsl.Dataset,
            },
            champion="champion",
        )  # fmt: skip
        run.call(
            data_prep,
            {"prepared": dsl.Dataset, "metrics": dsl.Metrics, "page": dsl.HTML},
            previous=run.given("latest"),
            remember=current.prepared,
            **self._data_settings(),
        )
        run.call(
            drift,
            {"drift": dsl.Artifact, "metrics": dsl.Metrics, "page": dsl.HTML},
            dataset=run.given("prepared"), reference=run.given("reference"), model=run.given("model"), max_images=300,
            anchor_reference=run.given("anchor_reference"), year_reference=run.given("year_reference"),
        )  # fmt: skip
        decided = run.call(
            decide,
            {"decision": dsl.Artifact},
            drift=run.given("drift"), name=current.name, version=current.version, recipes=[{"name": "whole"}], **POLICY,
        )  # fmt: skip
        found = json.loads(read_file(read_manifest(run.folder / "decision"), "retraining.json", self.store))
        result = Week(action=decided.action, attention=found["attention"], reason=found["reason"])
        pending = None
        if decided.action != "skip":
            head = np.zeros((3, 4), np.float32) if bad_training else train(run.dataset(self.store))
            pending = self._contest(run, head, result, current)
        result.grown_bytes = self.stored_bytes() - before
        return result, pending

    def _contest(self, run: "_Run", head: np.ndarray, result: Week, current: Any) -> Pending | None:
        save_onnx(run.folder / "candidate", write_onnx(head, run.folder / "model.onnx"), self.store)
        outputs = {"metrics": dsl.Metrics, "visualization": dsl.ClassificationMetrics, "page": dsl.HTML}
        made: dict[tuple[str, int], str] = {}
        for name, baseline, samples in (
            ("evaluation", "candidate", 24), ("duel", "served", 0), ("anchored", "anchor_served", 0),
            ("year", "year_served", 0),
        ):  # fmt: skip
            asked = (read_manifest(run.folder / baseline).digest, samples)
            if asked in made:
                # The same task with the same inputs: the cache has its result.
                shutil.copytree(run.folder / made[asked], run.folder / name)
                continue
            run.call(
                evaluate,
                {"evaluation": dsl.Artifact, **outputs},
                called={"evaluation": name},
                dataset=run.given("prepared"), candidate=run.given("candidate"), baseline=run.given(baseline),
                split="test", latency_rounds=1, seen=run.given("drift"), samples=samples,
            )  # fmt: skip
            made[asked] = name
        judged = run.call(
            judge,
            {"judgement": dsl.Artifact, "page": dsl.HTML},
            evaluation=run.given("evaluation"), duel=run.given("duel"), decision=run.given("decision"),
            anchor_duel=run.given("anchored"), year_duel=run.given("year"), anchors=current.anchors,
            part_uses=current.part_uses, **MARGINS,
        )  # fmt: skip
        result.verdict = judged.verdict
        result.judgement = _read(run.folder / "judgement", "judgement.json", self.store)
        self._release(run, head, judgement=result.judgement)
        if judged.verdict == "keep":
            return None
        return Pending(run.folder / "release", run.folder / "judgement", current.state, run.folder.name)

    def _release(self, run: "_Run", head: np.ndarray, *, judgement: dict[str, Any] | None) -> tuple[str, str]:
        """Stands in for `export`, without its checks against torch."""
        model = save_model(run.folder / "trained", network(), self.store, {})
        if not (run.folder / "candidate").exists():
            save_onnx(run.folder / "candidate", write_onnx(head, run.folder / "model.onnx"), self.store)
            outputs = {"metrics": dsl.Metrics, "visualization": dsl.ClassificationMetrics, "page": dsl.HTML}
            run.call(
                evaluate,
                {"evaluation": dsl.Artifact, **outputs},
                dataset=run.given("prepared"), candidate=run.given("candidate"), baseline=run.given("candidate"),
                split="test", latency_rounds=1,
            )  # fmt: skip
        parity = {"batch_sizes": [1], "relative_difference": 0.0, "tolerance": 1e-3}
        assembled = assemble(
            "colours",
            load_onnx(run.folder / "candidate", self.store),
            evaluation=read_evaluation(run.folder / "evaluation", self.store),
            decision={"recipes": [], "reason": "A stand-in."},
            verification=Verification(parity=parity, same_graph=True, samples_repeated=0),
            digests={},
            sources={"model": model, "dataset": read_manifest(run.folder / "prepared")},
            licence="none",
            retraining=judgement,
        )
        publish_release(self.store, "colours", assembled.version, assembled.files)
        publish(
            run.folder / "release", kind="release", files=dict(assembled.files), metadata=assembled.metadata,
            store=self.store,
        )  # fmt: skip
        return "colours", assembled.version

    def _data_settings(self) -> dict[str, Any]:
        return {
            "dataset": str(self.data), "task": "classification", "validation_fraction": 0.15, "test_fraction": 0.25,
            "max_image_mb": 1.0,
        }  # fmt: skip


class _Run:
    """The artifacts of one run, each in a folder of its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def given(self, name: str) -> dsl.Artifact:
        return dsl.Artifact(uri=str(self.folder / name))

    def dataset(self, store: Store) -> Dataset:
        return open_dataset(self.folder / "prepared", store)

    def call(self, stage: Any, outputs: dict[str, Any], *, called: dict[str, str] | None = None, **given: Any) -> Any:
        """The component's function, as KFP's executor would call it."""
        made = {name: kind(uri=str(self.folder / (called or {}).get(name, name))) for name, kind in outputs.items()}
        return stage.python_func(**given, **made)


def train(dataset: Dataset) -> np.ndarray:
    """Least squares of one-hot labels on [channel means, 1]: weights and bias `(3 classes, 4)`."""
    means, labels = [], []
    for row in dataset.iterate("train"):
        means.append([*PREPROCESS(row["image"]).mean(axis=(1, 2)), 1.0])
        labels.append(row["label"])
    solved, *_ = np.linalg.lstsq(np.array(means), np.eye(len(CLASSES))[labels], rcond=None)
    return solved.T.astype(np.float32)


def write_onnx(head: np.ndarray, path: Path) -> OnnxBundle:
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["logits"]),
    ]
    constants = {"axes": np.array([2, 3], np.int64), "weights": head[:, :3].T.copy(), "bias": head[:, 3].copy()}
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    provenance = {
        "task": "classification", "scheme": "float32", "complexity": {"parameters": 12, "macs": 9},
        "backbone": "stand-in", "pruned": False,
        "opset": 18, "source_model": "stand-in", "float32_graph": "stand-in",
    }  # fmt: skip
    return OnnxBundle(graphs={"model": path}, assets=ASSETS, provenance=provenance)


def network() -> ModelBundle:
    """A small network whose features the drift test compares; the same in every week."""
    architecture = Architecture(
        backbone="stand-in", source="timm:test_resnet", num_outputs=len(CLASSES), task="classification"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build(architecture)
    return ModelBundle(module=module.eval(), architecture=architecture, assets=ASSETS)


def _read(artifact: Path, name: str, store: Store) -> dict[str, Any]:
    return json.loads(read_file(read_manifest(artifact), name, store))


def weekly_labels(count: int) -> Iterator[str]:
    """The classes in turn."""
    return (CLASSES[number % len(CLASSES)] for number in range(count))
