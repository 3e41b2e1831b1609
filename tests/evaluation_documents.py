"""Evaluations with invented figures: of a classifier, or of any task."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.budget import Budget, Check
from components.core.evaluation.cost import Cost, cheapest
from components.core.evaluation.document import (
    Comparison,
    DatasetFacts,
    Difference,
    Estimate,
    Evaluation,
    MetricResult,
    ModelFigures,
    RuntimeFigures,
    Sample,
    Speedup,
    Timing,
    Verdict,
)
from components.core.evaluation.robustness import CorruptedResult, Robustness
from components.core.split_part import SplitPart

CLASSES = ("coat", "bag")
CALIBRATION = {"value": 0.031, "low": 0.012, "high": 0.044, "rows": 200, "bins": 15}


def estimate(value: float, spread: float = 0.011) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread)


def metric_result(candidate: float, baseline: float, *, spread: float = 0.7, **changes: Any) -> MetricResult:
    """Top-1 of both, with a difference that is known to ± `spread` points."""
    points = 100 * (candidate - baseline)
    given = {
        "name": "top1",
        "label": "top-1",
        "percent": True,
        "points_per_unit": 100.0,
        "higher_is_better": True,
        "interval": "Wilson",
        "candidate": estimate(candidate),
        "baseline": estimate(baseline),
        "difference": Difference(points=points, low=points - spread, high=points + spread),
    }
    return MetricResult(**{**given, **changes})


def timing(batch: int, ms: float) -> Timing:
    return Timing(
        batch=batch,
        threads=1,
        samples=50,
        p50_ms=ms,
        p90_ms=1.08 * ms,
        cold_ms=1.5 * ms,
        cpu_ms=ms,
        rows_per_second=1000 * batch / ms,
    )


def speedup(batch: int, ratio: float) -> Speedup:
    """Known to ± 2 %."""
    return Speedup(batch=batch, ratio=ratio, low=ratio / 1.02, high=1.02 * ratio, pairs=8)


def model(
    *, digest: str = "c" * 64, scheme: str = "int8", latency: float = 1.0, batch32: float | None = None,
    size_bytes: int = 2_500_000, parameters: int = 1_000_000, macs: int = 20_000_000,
    details: Mapping[str, Any] | None = None,
) -> ModelFigures:  # fmt: skip
    """One side; batch 32 takes 20 times as long as batch 1 unless it is said."""
    return ModelFigures(
        digest=digest,
        scheme=scheme,
        inputs={"input": "64 × 64 px"},
        size_bytes=size_bytes,
        graphs={"model": size_bytes},
        parameters=parameters,
        macs=macs,
        latency=(timing(1, latency), timing(32, batch32 or 20 * latency)),
        integer=None if scheme == "float32" else {"convolutions": 49, "convolutions_total": 49},
        details=dict(details or classifier_details(0.9)),
    )


def comparison(
    name: str, *, kind: str = "slice", support: int = 100, points: float | None = 0.5, low: float | None = -1.0,
    high: float | None = 2.0, **changes: Any,
) -> Comparison:  # fmt: skip
    """Both models on some rows, by top-1."""
    known = points is not None
    given = {
        "kind": kind,
        "name": name,
        "metric": "top-1",
        "percent": True,
        "proportion": False,
        "support": support,
        "candidate": 0.7 if known else None,
        "baseline": 0.7 - points / 100 if known else None,
        "points": points,
        "low": low if known else None,
        "high": high if known else None,
        "gained": 0,
        "lost": 0,
    }
    return Comparison(**{**given, **changes})


def evaluation(**changes: Any) -> Evaluation:
    """A classifier against its float32 network on test data, within its budget; fields replaced as given."""
    candidate = changes.pop("candidate", None) or model()
    baseline = changes.pop("baseline", None) or model(digest="b" * 64, scheme="float32", size_bytes=10_000_000)
    given = {
        "task": "classification",
        "row_noun": "images",
        "split": "test",
        "rows": 1000,
        "part": SplitPart(),
        "left_out": 0,
        "dataset": DatasetFacts(
            fingerprint="f" * 64,
            counts={"test": 1000},
            classes=CLASSES,
            licence=None,
            description=None,
            near_copies=None,
        ),
        "confidence": 0.95,
        "paired": "paired score interval (Tango 1998)",
        "metrics": (metric_result(0.905, 0.9),),
        "groups": (),
        "slices": (),
        "candidate": candidate,
        "baseline": baseline,
        "speedups": tuple(
            speedup(fast.batch, slow.p50_ms / fast.p50_ms)
            for fast, slow in zip(candidate.latency, baseline.latency, strict=True)
        ),
        "size_ratio": baseline.size_bytes / candidate.size_bytes,
        "verdict": Verdict(meets=True, checks=()),
        "budget": Budget(),
        "host": {"processor": "A CPU @ 2.0 GHz", "cores": 2, "flags": ["avx512f", "avx512_vnni"], "vnni": True},
        "method": "onnxruntime, CPU, 1 thread; warm and alone, medians of 200 calls",
        "warnings": (),
        "samples": (),
    }
    return Evaluation(**{**given, **changes})


def robustness(*, points: float | None = -2.0, low: float | None = -3.5, high: float | None = -0.5) -> Robustness:
    """Two corruptions at three severities: from 90 % the baseline loses 2 points per severity, the candidate 3."""
    corrupted = tuple(
        CorruptedResult(
            corruption=name,
            severity=severity,
            candidate=0.9 - 0.03 * severity,
            baseline=0.9 - 0.02 * severity,
            candidate_drop=3.0 * severity,
            baseline_drop=2.0 * severity,
        )
        for name in ("gaussian noise", "JPEG")
        for severity in (1, 2, 3)
    )
    return Robustness(
        rows=200,
        candidate=0.9,
        baseline=0.9,
        corrupted=corrupted,
        candidate_drop=6.0,
        baseline_drop=4.0,
        points=points,
        low=low,
        high=high,
        method="Images are corrupted at 224 px.",
    )


def cost(price: float) -> Cost:
    """1,600 and 320 images per second at batch 32, by one thread."""
    return Cost(
        price_per_core_hour=price,
        candidate=cheapest([timing(1, 1.0), timing(32, 20.0)], price),
        baseline=cheapest([timing(1, 5.0), timing(32, 100.0)], price),
    )


def runtime(name: str = "OpenVINO", **changes: Any) -> RuntimeFigures:
    """1.5 times as fast as onnxruntime at batch 1 (within 2 %), twice at batch 32."""
    given = {
        "name": name,
        "version": "2026.4",
        "latency": (timing(1, 1.0), timing(32, 16.0)),
        "speedups": (speedup(1, 1.5), speedup(32, 2.0)),
        "difference": 0.012,
        "computes_the_same": True,
        "agreement": 0.992,
        "compared_rows": 128,
        "refused": "",
    }
    return RuntimeFigures(**{**given, **changes})


def onnxruntime() -> RuntimeFigures:
    """The first of all runtimes."""
    return runtime(
        "onnxruntime", version="1.32", latency=(timing(1, 1.5), timing(32, 32.0)), speedups=(), difference=None,
        agreement=None, compared_rows=0,
    )  # fmt: skip


def verdict(*checks: Check) -> Verdict:
    return Verdict(meets=all(check.met for check in checks), checks=checks)


def classifier_details(top1: float, classes: Sequence[str] = CLASSES, images: int = 200) -> dict[str, Any]:
    """Details of a classifier with about this accuracy: its confusion matrix and what follows from it."""
    rng = random.Random(str(top1))
    each = images // len(classes)
    matrix = [[0] * len(classes) for _ in classes]
    for true in range(len(classes)):
        right = min(each, round(each * (top1 + rng.uniform(-0.06, 0.06))))
        matrix[true][true] = right
        for _ in range(each - right):
            matrix[true][rng.choice([other for other in range(len(classes)) if other != true])] += 1
    per_class = []
    for index, name in enumerate(classes):
        recall, seen = matrix[index][index] / each, sum(row[index] for row in matrix)
        precision = matrix[index][index] / seen
        f1 = 2 * precision * recall / (precision + recall)
        per_class.append({"class": name, "support": each, "precision": precision, "recall": recall, "f1": f1})
    return {"per_class": per_class, "confusion": matrix, "calibration": CALIBRATION}


def sample(number: int, label: str, candidate: str, image_base64: str) -> Sample:
    """An image with its class and what the candidate took it for; the baseline is right."""
    return Sample(
        digest=f"{number:064x}",
        kind="right" if label == candidate else "wrong",
        score=float(label == candidate),
        said=candidate,
        row=None,
        shown={
            "label": label,
            "candidate": candidate,
            "baseline": label,
            "image_base64": image_base64,
            "media_type": "image/png",
        },
    )
