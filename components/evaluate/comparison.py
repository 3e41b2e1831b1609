"""The stage's work in order: predictions of both, figures, latency in turn, verdict; the content of evaluation.json."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from components.core.budget import Budget
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.parameters import check_declared
from components.core.runtime.host import describe_host
from components.core.runtime.latency import Latency, measure
from components.core.runtime.sessions import open_session
from components.evaluate.groups import CONFIDENCE, RESAMPLES, SEED, class_differences, slice_differences
from components.evaluate.inference import Outcome, check_split, run_split
from components.evaluate.intervals import (
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    paired_bootstrap,
    wilson_interval,
)
from components.evaluate.samples import pick_samples, read_samples
from components.evaluate.verdict import judge

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

FORMAT = 1
LARGE_BATCH = 32
_FEWEST_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure, and the budget to judge it by.

    Attributes:
        split: validation or test.
        threads: of onnxruntime, for accuracy and latency.
        latency_rounds: interleaved rounds at batch 1; a fifth of it, at least 10, at batch 32.
        budget: limits.

    Raises:
        UserError: a value that does not work.
    """

    split: str
    threads: int
    latency_rounds: int
    budget: Budget

    def __post_init__(self) -> None:
        check_declared({"threads": self.threads, "latency_rounds": self.latency_rounds}, threads="latency_threads")


def compare(dataset: "Dataset", candidate: OnnxBundle, baseline: OnnxBundle, config: EvaluateConfig) -> dict[str, Any]:
    """Both models on the same rows, each with its own preprocessing; the content of evaluation.json.

    Raises:
        UserError: the split is not one to judge on, or a model has other classes than the dataset.
    """
    check_split(dataset, config.split)
    ours = run_split(candidate, dataset, config.split, threads=config.threads)
    theirs = run_split(baseline, dataset, config.split, threads=config.threads)
    assert ours.digests == theirs.digests, "both models must see the same rows in the same order"

    rounds = {1: config.latency_rounds, LARGE_BATCH: max(_FEWEST_ROUNDS, config.latency_rounds // 5)}
    latency = {batch: _latency(candidate, baseline, config.threads, batch, rounds[batch]) for batch in rounds}
    low, high = paired_bootstrap(ours.correct, theirs.correct, resamples=RESAMPLES, seed=SEED, confidence=CONFIDENCE)
    points = 100 * (ours.top1 - theirs.top1)
    return {
        "format": FORMAT,
        "split": config.split,
        "rows": len(ours.labels),
        "task": dataset.task,
        "dataset": {
            "fingerprint": dataset.fingerprint,
            "counts": dataset.counts,
            "licence": dataset.manifest.metadata.get("licence"),
        },
        "candidate": _figures(
            candidate, ours, dataset.classes, {batch: latency[batch]["candidate"] for batch in latency}
        ),
        "baseline": _figures(
            baseline, theirs, dataset.classes, {batch: latency[batch]["baseline"] for batch in latency}
        ),
        "difference": {
            "top1_points": points,
            "low": 100 * low,
            "high": 100 * high,
            "confidence": CONFIDENCE,
            "method": f"paired bootstrap, {RESAMPLES:,} resamples, seed {SEED}",
            "per_class": class_differences(ours, theirs, dataset.classes),
            **({"per_slice": slice_differences(dataset, config.split, ours, theirs)} if dataset.slices else {}),
        },
        "speedup": {
            f"batch{batch}": found["baseline"].p50_ms / found["candidate"].p50_ms for batch, found in latency.items()
        },
        "size_ratio": baseline.size_bytes / candidate.size_bytes,
        "verdict": judge(
            config.budget,
            latency_ms=latency[1]["candidate"].p50_ms,
            size_bytes=candidate.size_bytes,
            difference_points=points,
        ),
        "budget": asdict(config.budget),
        "host": describe_host(),
        "method": _method(config, rounds),
        "samples": read_samples(dataset, config.split, pick_samples(ours), ours, theirs),
    }


def _latency(candidate: OnnxBundle, baseline: OnnxBundle, threads: int, batch: int, rounds: int) -> dict[str, Latency]:
    sessions = {
        "candidate": open_session(candidate.graphs["model"], threads=threads),
        "baseline": open_session(baseline.graphs["model"], threads=threads),
    }
    return measure(sessions, batch=batch, rounds=rounds, warmup=max(3, rounds // 10))


def _figures(bundle: OnnxBundle, outcome: Outcome, classes: list[str], latency: dict[int, Latency]) -> dict[str, Any]:
    low, high = wilson_interval(outcome.top1, len(outcome.labels), CONFIDENCE)
    confusion = confusion_matrix(outcome.labels, outcome.predictions, len(classes))
    scores = class_scores(confusion)
    return {
        "scheme": bundle.provenance["scheme"],
        "image_size": bundle.assets.to_metadata()["preprocess"]["image_size"],
        "top1": outcome.top1,
        "top1_low": low,
        "top1_high": high,
        "per_class": [{"class": name, **asdict(score)} for name, score in zip(classes, scores, strict=True)],
        "confusion": confusion.tolist(),
        "latency_batch1": latency[1].to_json(),
        "latency_batch32": latency[LARGE_BATCH].to_json(),
        "images_per_second_batch32": latency[LARGE_BATCH].images_per_second,
        "size_bytes": bundle.size_bytes,
        "parameters": bundle.provenance["complexity"]["parameters"],
        "macs": bundle.provenance["complexity"]["macs"],
        "expected_calibration_error": expected_calibration_error(outcome.probabilities, outcome.labels),
        "fused": bundle.provenance.get("fused"),
    }


def _method(config: EvaluateConfig, rounds: dict[int, int]) -> str:
    threads = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    return (
        f"Both models in onnxruntime on the CPU, {threads}. Top-1: 95 % Wilson interval; difference: 95 % paired "
        f"bootstrap. Latency: candidate and baseline in turn, {rounds[1]} rounds at batch 1 and {rounds[LARGE_BATCH]} "
        f"at batch {LARGE_BATCH} after a warm-up, medians of wall time, CPU time beside it; inference only, without "
        "decoding and resizing."
    )
