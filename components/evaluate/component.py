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
    visualization: Output[ClassificationMetrics],
    page: Output[HTML],
    split: str = "validation",
    threads: int = 1,
    latency_rounds: int = 50,
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    max_drop: float = -1.0,
    seen: Input[Artifact] = None,
    samples: int = 24,
    part: int = 1,
    parts: int = 1,
    corruption_rows: int = 0,
    price_per_core_hour: float = 0.0,
):
    """Compares two models on the same rows in onnxruntime: metrics with intervals, latency, size, and the budget.

    Args:
        dataset: Prepared data set; only the named split is read.
        candidate: ONNX bundle, or a torch model, which is exported to float32 first.
        baseline: Model to compare with: the same kinds.
        evaluation: evaluation.json with everything that was measured.
        metrics: The most important figures.
        visualization: What the task has KFP draw, such as a confusion matrix of the candidate.
        page: All of it as a page, with samples.
        split: validation, or test. The test split is to be read once per run, for the model that was chosen.
        threads: Threads of onnxruntime, for predictions and latency; at least 1.
        latency_rounds: Timed calls of each model at batch 1, at least; a fifth of it, at least 10, at the task's
            large batch (32 of images). More follow until the speed-up is known to ±3 %.
        max_latency_ms: Limit on the candidate's median latency at batch 1, warm, milliseconds; -1 is no limit.
        max_size_mb: Limit on the size of its ONNX files and of what they need beside them (a vocabulary), megabytes of
            10⁶ bytes; -1 is no limit.
        max_drop: Limit on how far its primary metric lies below the baseline's, points; -1 is no limit.
        seen: Drift of a retraining: rows of the split that an earlier champion was trained or
            chosen on are left out.
        samples: Maximum number of rows to show; 0 for none, if another evaluation of the same candidate shows them.
        part: Number of the part of the split to read, of `parts` parts divided by a hash of each row or of its group.
        parts: 1 reads the whole split.
        corruption_rows: Rows on which both models are also compared with corrupted inputs, at most; 0 for none. Images
            alone can be corrupted.
        price_per_core_hour: Price of one core for an hour, in any currency, for the cost per million predictions; 0
            for none.
    """

    from components.core.artifacts.manifest import describe, publish, read_manifest
    from components.core.budget import Budget
    from components.core.data.dataset import open_dataset
    from components.core.data.seen_rows import read_seen
    from components.core.evaluation.document import FILE, KIND, encode_evaluation
    from components.core.parameters import check_declared
    from components.core.report.metrics import log_metrics
    from components.core.split_part import SplitPart
    from components.core.store import store_from_environment
    from components.core.tasks import get_task
    from components.evaluate.bundles import open_as_onnx
    from components.evaluate.comparison import EvaluateConfig, evaluate_pair
    from components.evaluate.inference import check_split
    from components.evaluate.page import write_evaluation_page
    from components.evaluate.robustness import check_corruptions

    check_declared({"parts": parts}, parts="test_parts")
    budget = Budget(max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, max_drop=max_drop)
    config = EvaluateConfig(
        split=split, threads=threads, latency_rounds=latency_rounds, budget=budget, samples=samples,
        part=SplitPart(number=part, of=parts), corruption_rows=corruption_rows, price_per_core_hour=price_per_core_hour,
    )  # fmt: skip

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    check_split(prepared, split)
    check_corruptions(prepared, corruption_rows)
    ours, theirs = open_as_onnx(candidate.path, store), open_as_onnx(baseline.path, store)
    known = read_seen(read_manifest(seen.path, kind="drift"), store) if seen else frozenset()
    result = evaluate_pair(prepared, ours, theirs, config, seen=known)

    # Stages that make or choose an ONNX file by a recipe name it on KFP's artifact.
    made_by = str(candidate.metadata.get("recipe", ""))
    primary = result.primary
    facts: dict[str, str | int | float | bool] = {
        **{metric.name: metric.candidate.value for metric in result.metrics if metric.candidate.value is not None},
        f"baseline_{primary.name}": primary.baseline.value or 0.0,
        "difference_points": primary.points,
        "latency_ms": result.candidate.at(1).p50_ms,
        **{f"speedup_batch{speedup.batch}": speedup.ratio for speedup in result.speedups},
        "size_mb": result.candidate.size_bytes / 1e6,
        "size_ratio": result.size_ratio,
        "meets_budget": int(result.verdict.meets),
    }
    if result.robustness and result.robustness.points is not None:
        facts["robustness_points"] = result.robustness.points
    if result.cost:
        facts["cost_per_million"] = result.cost.candidate.per_million
    manifest = publish(
        evaluation.path,
        kind=KIND,
        files={FILE: encode_evaluation(result)},
        metadata={"split": split, "rows": result.rows},
        store=store,
    )
    describe(evaluation, manifest, store, split=split, rows=result.rows, **facts)
    log_metrics(metrics, facts, recipe=made_by, data=prepared.description)
    get_task(prepared.task).pages.log_metrics(result, visualization)
    write_evaluation_page(page.path, result, recipe=made_by)
