"""The stage's work in order: predictions of both, figures, latency, verdict; the content of evaluation.json."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core.budget import Budget
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.watched import METADATA, Watched
from components.core.errors import UserError
from components.core.evaluation.cost import Cost, cheapest
from components.core.evaluation.document import (
    DatasetFacts,
    Evaluation,
    MetricResult,
    ModelFigures,
    NearCopiesFacts,
    RuntimeFigures,
    Timing,
    Verdict,
)
from components.core.evaluation.parsing import parse
from components.core.evaluation.robustness import Robustness
from components.core.numbers import capitalized
from components.core.parameters import check_declared
from components.core.runtime.host import describe_host
from components.core.runtime.serving import open_graphs
from components.core.split_part import SplitPart
from components.core.tasks import Task, get_task
from components.core.tasks.metric import Metric
from components.evaluate.bundles import Opened
from components.evaluate.groups import group_comparisons, slice_comparisons
from components.evaluate.inference import Unread, check_split, rows_in, run_split
from components.evaluate.intervals import CONFIDENCE, PairedRows, difference_name, interval_name
from components.evaluate.latency import Timings, measure_both
from components.evaluate.robustness import check_corruptions, measure_robustness
from components.evaluate.runtimes import measure_runtimes
from components.evaluate.samples import SAMPLES, pick_samples, read_samples

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

_FEWEST_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of the measurement, and the budget to judge it by.

    Attributes:
        split: validation or test.
        threads: of onnxruntime, for predictions and latency.
        latency_rounds: timed calls of each model at batch 1, at least; a fifth of it, at least 10, at the task's large
            batch. More follow until the speed-up is known well enough; see `core.runtime.latency`.
        budget: limits.
        samples: rows to look at, at most; 0 for none.
        part: of the split, whose rows alone are read; a group of the data set is in one part.
        corruption_rows: rows on which both are compared with corrupted inputs too, at most; 0 for none.
        price_per_core_hour: for the cost per million rows; 0 for none.

    Raises:
        UserError: a value that does not work.
    """

    split: str
    threads: int
    latency_rounds: int
    budget: Budget
    samples: int = SAMPLES
    part: SplitPart = field(default_factory=SplitPart)
    corruption_rows: int = 0
    price_per_core_hour: float = 0.0

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise UserError(f"samples must be at least 0, got {self.samples}")
        names = ("threads", "latency_rounds", "corruption_rows", "price_per_core_hour")
        check_declared({name: getattr(self, name) for name in names}, threads="latency_threads")


def evaluate_pair(
    dataset: "Dataset", candidate: Opened, baseline: Opened, config: EvaluateConfig, *, seen: Collection[str] = ()
) -> Evaluation:
    """Both models on the same rows, each with its own preprocessing.

    Args:
        dataset: whose split is read.
        candidate: one model.
        baseline: the other.
        config: how.
        seen: digests of rows that one of them was trained or chosen on, beside those that it is known for itself; they
            are left out.

    Raises:
        UserError: the split is not one to judge on, its part has no row, the dataset's manifest has something else as
            its near copies, a model was made for other classes than the dataset's, or rows that cannot be corrupted
            are to be.
    """
    check_split(dataset, config.split)
    check_corruptions(dataset, config.corruption_rows)
    near_copies = _near_copies(dataset)
    task = get_task(dataset.task)
    # Of validation data the network that was given knows all, and nothing is published that was found there.
    known = frozenset(seen) | (candidate.seen | baseline.seen if config.split == "test" else frozenset())
    groups = {} if config.part.is_whole else dataset.group_keys()
    unread, size = Unread(known, config.part, groups), rows_in(dataset, config.split, config.part, groups)
    ours = run_split(candidate.bundle, dataset, config.split, threads=config.threads, unread=unread)
    theirs = run_split(baseline.bundle, dataset, config.split, threads=config.threads, unread=unread)
    assert ours.digests == theirs.digests, "both models must see the same rows in the same order"
    watched = baseline.watched
    pairs, primary = PairedRows(ours.statistics, theirs.statistics), task.metrics[0]
    metrics = tuple(_metric(metric, pairs) for metric in task.metrics)

    timings = measure_both(
        candidate.bundle,
        baseline.bundle,
        dataset,
        config.split,
        threads=config.threads,
        rounds=rounds_of(task, config.latency_rounds),
    )
    return Evaluation(
        task=task.name,
        row_noun=task.row_noun,
        split=config.split,
        rows=len(ours.digests),
        part=config.part,
        left_out=size - len(ours.digests),
        dataset=DatasetFacts(
            fingerprint=dataset.fingerprint,
            counts=dict(dataset.counts),
            classes=tuple(dataset.classes),
            licence=dataset.manifest.metadata.get("licence"),
            description=dataset.description or None,
            near_copies=near_copies,
        ),
        confidence=CONFIDENCE,
        paired=difference_name(primary),
        metrics=metrics,
        groups=tuple(group_comparisons(task.groups(dataset), ours.groups, pairs)),
        slices=tuple(slice_comparisons(dataset, config.split, ours.digests, primary, pairs)),
        candidate=_figures(candidate, timings.candidate, {**ours.details, **_general(candidate, watched, config)}),
        baseline=_figures(baseline, timings.baseline, {**theirs.details, **_general(baseline, watched, config)}),
        speedups=timings.speedups,
        size_ratio=baseline.bundle.size_bytes / candidate.bundle.size_bytes,
        verdict=budget_verdict(
            config.budget,
            latency_ms=timings.candidate[0].p50_ms,
            size_bytes=candidate.bundle.size_bytes,
            difference_points=metrics[0].points,
        ),
        budget=config.budget,
        host=describe_host(),
        method=_method(config, timings, task),
        timed_units=task.timed_units,
        warnings=(*_unknown_data(candidate, baseline, split=config.split, noun=task.row_noun), *timings.warnings),
        samples=tuple(
            read_samples(
                dataset,
                config.split,
                pick_samples(primary, ours.statistics, config.samples),
                candidate=candidate.bundle,
                baseline=baseline.bundle,
                threads=config.threads,
                unread=unread,
            )
        ),
        robustness=_robustness(dataset, candidate, baseline, ours.digests, config),
        cost=_cost(config.price_per_core_hour, timings),
        runtimes=_runtimes(candidate.bundle, dataset, config),
    )


def rounds_of(task: Task, latency_rounds: int) -> dict[int, int]:
    """How many calls are timed at least, by batch size: at batch 1, and at the task's large batch."""
    return {1: latency_rounds, task.large_batch: max(_FEWEST_ROUNDS, latency_rounds // 5)}


def budget_verdict(budget: Budget, *, latency_ms: float, size_bytes: int, difference_points: float) -> Verdict:
    """How a candidate stands to each limit that is given.

    Args:
        budget: the limits.
        latency_ms: median of a warm call at batch 1.
        size_bytes: of all that is shipped to predict with.
        difference_points: candidate minus baseline in points of the primary metric (negative = worse).
    """
    checks = budget.checks(latency_ms=latency_ms, size_bytes=size_bytes, drop_points=-difference_points)
    return Verdict(meets=all(check.met for check in checks), checks=tuple(checks))


def _metric(metric: Metric, pairs: PairedRows) -> MetricResult:
    ours, theirs = pairs.estimates(metric)
    return MetricResult(
        name=metric.name,
        label=metric.label,
        percent=metric.percent,
        points_per_unit=metric.points_per_unit,
        higher_is_better=metric.higher_is_better,
        interval=interval_name(metric),
        candidate=ours,
        baseline=theirs,
        difference=pairs.difference(metric),
    )


def _figures(opened: Opened, latency: tuple[Timing, ...], details: dict) -> ModelFigures:
    bundle = opened.bundle
    return ModelFigures(
        digest=opened.digest,
        scheme=bundle.provenance["scheme"],
        inputs=bundle.assets.describe(),
        size_bytes=bundle.size_bytes,
        graphs={name: path.stat().st_size for name, path in bundle.graphs.items()},
        parameters=bundle.provenance["complexity"]["parameters"],
        macs=bundle.provenance["complexity"]["macs"],
        latency=latency,
        integer=bundle.provenance.get("fused"),
        details=details,
    )


def _general(opened: Opened, watched: Watched | None, config: EvaluateConfig) -> dict[str, Any]:
    """A detail: how far the answers to inputs outside of the data are from those of the network before training."""
    if watched is None:
        return {}
    task, assets, sessions = (
        opened.bundle.task,
        opened.bundle.assets,
        open_graphs(opened.bundle, threads=config.threads),
    )
    change = watched.change(task, assets, lambda batch: task.predict(task.run(sessions, batch, assets), batch, assets))
    return {METADATA: {**change.figures, "rows": len(watched.rows)}}


def _unknown_data(*models: Opened, split: str, noun: str) -> list[str]:
    """Said of the figures that are published; on validation data nothing is claimed."""
    if split != "test" or not any(one.of_unknown_data for one in models):
        return []
    return [
        f"Nothing says which {noun} the given network was trained on. If {noun} of the test split were among them, its "
        "figures, and those of what was distilled from it, are too good."
    ]


def _method(config: EvaluateConfig, timings: Timings, task: Task) -> str:
    threads = "1 thread" if config.threads == 1 else f"{config.threads} threads"
    share = f"{100 * CONFIDENCE:g} %"
    intervals = "; ".join(
        f"{capitalized(metric.label)}: {share} interval ({interval_name(metric)}; of the difference "
        f"{difference_name(metric)})"
        for metric in task.metrics
    )
    of_rows = (
        f" A call takes the next {task.row_noun} of the split through the whole model as a client does, the same ones "
        f"for both; {task.timed_units} per second are those that the model made."
        if task.timed_units
        else ""
    )
    timed = " and ".join(f"{one.samples} calls at batch {one.batch}" for one in timings.candidate)
    return (
        f"Both models in onnxruntime on the CPU, {threads}. {intervals}. "
        f"Latency: warm and alone, {timed} of each model, in alternating blocks whose first calls are not "
        f"counted; medians of wall time, CPU time beside it; cold: the first call after the other model. Speed-up: "
        f"from pairs of neighbouring blocks (Hodges-Lehmann, {share} signed-rank interval). Inference only, without "
        f"preparing the inputs.{of_rows}"
    )


def _robustness(
    dataset: "Dataset", candidate: Opened, baseline: Opened, digests: Sequence[str], config: EvaluateConfig
) -> Robustness | None:
    if not config.corruption_rows:
        return None
    return measure_robustness(
        dataset,
        config.split,
        candidate=candidate.bundle,
        baseline=baseline.bundle,
        digests=digests,
        rows=config.corruption_rows,
        threads=config.threads,
    )


def _runtimes(bundle: OnnxBundle, dataset: "Dataset", config: EvaluateConfig) -> tuple[RuntimeFigures, ...]:
    """Of what is released alone: choices among candidates are made with onnxruntime, and need no other."""
    if config.split != "test":
        return ()
    rounds = rounds_of(bundle.task, config.latency_rounds)
    return measure_runtimes(bundle, dataset, config.split, threads=config.threads, rounds=rounds)


def _cost(price: float, timings: Timings) -> Cost | None:
    if not price:
        return None
    return Cost(
        price_per_core_hour=price,
        candidate=cheapest(timings.candidate, price),
        baseline=cheapest(timings.baseline, price),
    )


def _near_copies(dataset: "Dataset") -> NearCopiesFacts | None:
    found = dataset.manifest.metadata.get("near_duplicates")
    try:
        return None if found is None else parse(NearCopiesFacts, found, "near_duplicates")
    except ValueError as error:
        raise UserError(f"the dataset's manifest: {error}; prepare the data again") from None
