"""KFP face of the evaluation: candidate against baseline, on a split that neither was trained on."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def evaluate(
    dataset: Input[Dataset],
    candidate: Input[Model],
    baseline: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    page: Output[HTML],
    split: str = "validation",
    threads: int = 1,
    latency_rounds: int = 50,
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    max_drop: float = -1.0,
):
    """Compares two models on the same images in onnxruntime: accuracy with intervals, latency, size, and the budget.

    Args:
        dataset: Prepared data set; only the named split is read.
        candidate: ONNX bundle, or a torch model, which is exported to float32 first.
        baseline: What to compare with: the same.
        evaluation: evaluation.json with everything that was measured.
        metrics: The most important figures.
        classification: Confusion matrix of the candidate.
        page: All of it as a page, with samples.
        split: validation, or test. The test split is to be read once, for the model that was chosen.
        threads: Threads of onnxruntime, for accuracy and latency; at least 1.
        latency_rounds: Timed rounds, candidate and baseline in turn, at batch 1; a fifth of it, at least 10, at
            batch 32.
        max_latency_ms: Limit on the candidate's median latency at batch 1, milliseconds; -1 is no limit.
        max_size_mb: Limit on the size of its ONNX file, megabytes of 10⁶ bytes; -1 is no limit.
        max_drop: Limit on how far its top-1 lies below the baseline's, percentage points; -1 is no limit.
    """
    import json
    import tempfile
    from pathlib import Path

    from components.core.artifacts.manifest import describe, publish
    from components.core.budget import Budget
    from components.core.data.dataset import open_dataset
    from components.core.store import store_from_environment
    from components.evaluate.bundles import open_as_onnx
    from components.evaluate.comparison import EvaluateConfig, compare
    from components.evaluate.inference import check_split
    from components.evaluate.page import write_evaluation_page

    budget = Budget(max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, max_drop=max_drop)
    config = EvaluateConfig(split=split, threads=threads, latency_rounds=latency_rounds, budget=budget)

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    check_split(prepared, split)
    with tempfile.TemporaryDirectory(prefix="trimtab-evaluate-") as folder:
        ours = open_as_onnx(candidate.path, store, Path(folder) / "candidate")
        theirs = open_as_onnx(baseline.path, store, Path(folder) / "baseline")
        document = compare(prepared, ours.bundle, theirs.bundle, config)
    document["candidate"]["digest"], document["baseline"]["digest"] = ours.digest, theirs.digest

    facts: dict[str, str | int | float | bool] = {
        "top1": document["candidate"]["top1"],
        "baseline_top1": document["baseline"]["top1"],
        "difference_points": document["difference"]["top1_points"],
        "latency_ms": document["candidate"]["latency_batch1"]["p50_ms"],
        "speedup_batch1": document["speedup"]["batch1"],
        "speedup_batch32": document["speedup"]["batch32"],
        "size_mb": document["candidate"]["size_bytes"] / 1e6,
        "size_ratio": document["size_ratio"],
        "meets_budget": int(document["verdict"]["meets"]),
    }
    content = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
    manifest = publish(
        evaluation.path,
        kind="evaluation",
        files={"evaluation.json": content},
        metadata={"split": split, "rows": document["rows"]},
        store=store,
    )
    describe(evaluation, manifest, store, split=split, rows=document["rows"], **facts)
    for name, value in facts.items():
        metrics.log_metric(name, value)
    classification.log_confusion_matrix(prepared.classes, document["candidate"]["confusion"])
    write_evaluation_page(page.path, document)
