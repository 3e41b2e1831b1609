"""A store with runs, releases, a champion and drift, with invented measurements: what `trimtab report` shows."""

import json
from pathlib import Path
from typing import Any

from evaluation_documents import evaluation, metric_result, model, verdict

from components.core.artifacts.manifest import publish, read_manifest
from components.core.evaluation.document import encode_evaluation
from components.core.store import Store

START = 1_770_000_000.0
WEEK = 7 * 86400.0
RELEASES = {"aaaa11112222": (0.905, 1.9, 3_100_000), "bbbb33334444": (0.914, 1.4, 2_600_000),
            "cccc55556666": (0.921, 1.2, 2_400_000)}  # fmt: skip


def fill(store: Store, folder: Path, *, name: str = "sorter") -> None:
    """Three releases, two of them promoted, three retrainings with drift, one run that failed, one without an end."""
    for version, (top1, latency, size) in RELEASES.items():
        measured = evaluation(
            split="test", metrics=(metric_result(top1, 0.93),), verdict=verdict(),
            candidate=model(latency=latency, size_bytes=size),
        )  # fmt: skip
        store.releases.publish(name, version, {"model.onnx": b"onnx", "evaluation.json": encode_evaluation(measured)})
    first, second, _ = RELEASES
    store.champions.promote(name, first, who="ann", why="the first one")
    store.champions.promote(name, second, who="retrain", why="not worse by more than 1 point", run="retrain-2")
    for number in range(1, 4):
        _retraining(store, folder, f"retrain-{number}", START + number * WEEK, shift=0.04 * number)
    _task(
        store, "optimize-9", "run/train/fine-tune", "fine-tune", START, 95.0, status="failed", error="out of <memory>"
    )
    _end(store, "optimize-9", "optimize", START + 95, state="FAILED", title="The run failed")
    _task(store, "optimize-8", "run/data-prep", "data-prep", START - WEEK, 5.0)


def _retraining(store: Store, folder: Path, run: str, at: float, *, shift: float) -> None:
    drift = {
        "images": {"dataset": 1200, "new": 200, "gone": 0, "moved_to_test": 0},
        "labels": {"distance": shift, "p_value": 0.01, "cramers_v": shift},
        "features": {"auc": 0.5 + shift, "p_value": 0.02, "new": 200, "reference": 1000},
        "classes": {"added": [], "gone": []}, "quarantine": {"new": 0, "share": 0.0},
        "mix": [{"class": "bag", "reference": 500, "new": 120}, {"class": "boot", "reference": 500, "new": 80}],
    }  # fmt: skip
    publish(folder / run, kind="drift", files={"drift.json": json.dumps(drift).encode()}, metadata={}, store=store)
    made = {"type": "system.Artifact", "uri": "", "metadata": {}, "manifest": read_manifest(folder / run).to_json()}
    _task(store, run, "run/drift", "drift", at, 12.0, output_artifacts={"drift": [made]})
    _end(store, run, "retrain", at + 12, state="SUCCEEDED", title="sorter/aaaa11112222 stays champion")


def _end(store: Store, run: str, pipeline: str, at: float, *, state: str, title: str) -> None:
    page = {"type": "system.HTML", "uri": "", "metadata": {"title": title, "state": state}, "manifest": None}
    _task(
        store, run, "run-report", "run-report", at, 1.0, parameters={"pipeline": pipeline, "run_id": run},
        output_artifacts={"report": [page]},
    )  # fmt: skip


def _task(
    store: Store, run: str, path: str, component: str, at: float, seconds: float, *, status: str = "succeeded",
    error: str | None = None, **record: Any,
) -> None:  # fmt: skip
    whole = {
        "task": path, "component": component, "status": status, "cached": False, "started": at, "ended": at + seconds,
        "seconds": seconds, "depends_on": [], "iteration": None, "parameters": {}, "output_parameters": {},
        "output_artifacts": {}, "input_artifacts": {}, "error": error, "log": None,
    }  # fmt: skip
    store.journal.write(run, path, {**whole, **record})


def finished_search(store: Store, folder: Path, run: str, *, state: str = "SUCCEEDED") -> str:
    """A search with parameters, two epochs of training, an evaluation and a release; gives the release's digest."""
    _task(
        store, run, "run/preflight", "preflight", START, 1.0, parameters={"data_source": "demo"},
        output_parameters={"learning_rate": 0.001, "backbones": ["efficientnet_lite0"], "dataset": "photos"},
    )  # fmt: skip
    epochs = [{"epoch": 1, "validation_metric": 0.5, "train_loss": 1.2},
              {"epoch": 2, "validation_metric": 0.75, "train_loss": 0.8}]  # fmt: skip
    trained = {"metric": {"label": "top-1", "percent": True}, "epochs": epochs, "best_epoch": 2}
    _task(
        store, run, "run/fine-tune", "fine-tune", START + 1, 60.0,
        output_artifacts=_artifact(store, folder / "curves", "curves", {"curves.json": json.dumps(trained).encode()}),
    )  # fmt: skip
    measured = encode_evaluation(evaluation(split="test", metrics=(metric_result(0.905, 0.93),)))
    _task(
        store, run, "run/evaluate", "evaluate", START + 61, 9.0,
        output_artifacts=_artifact(store, folder / "evaluation", "evaluation", {"evaluation.json": measured}),
    )  # fmt: skip
    digest, version = "d1" * 32, "d1d1d1d1d1d1"
    store.releases.publish(
        "sorter", version, {"model.onnx": b"onnx", "evaluation.json": measured, "card.md": b"# sorter"}
    )
    facts = {"name": "sorter", "version": version, "release_digest": digest, "uri": f"{store.uri}/releases/sorter"}
    released = _artifact(store, folder / "release", "release", {"model.onnx": b"onnx"}, facts)
    _task(store, run, "run/export", "export", START + 70, 5.0, output_artifacts=released)
    _end(store, run, "optimize", START + 75, state=state, title="4.00× smaller, 1.00× faster")
    return digest


def _artifact(
    store: Store, folder: Path, kind: str, files: dict[str, bytes], metadata: dict[str, Any] | None = None
) -> dict[str, Any]:
    publish(folder, kind=kind, files=files, metadata=metadata or {}, store=store)
    name = "release" if kind == "release" else kind
    manifest = read_manifest(folder).to_json()
    return {name: [{"type": "system.Artifact", "uri": "", "metadata": {}, "manifest": manifest}]}
