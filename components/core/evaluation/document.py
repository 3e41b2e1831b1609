"""evaluation.json, typed: what one evaluation measured of a candidate and a baseline on the same rows.

Written by the stage evaluate; read by choose, judge, export and run_report. No figure of a task is known here by name:
the first of `metrics` is the one that decisions are made by, and `details` belong to the task's own pages.
"""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, read_file, read_manifest
from components.core.budget import Budget, Check
from components.core.errors import UserError
from components.core.evaluation.cost import Cost
from components.core.evaluation.parsing import parse, to_json
from components.core.evaluation.robustness import Robustness
from components.core.json_documents import parse_json
from components.core.split_part import SplitPart

if TYPE_CHECKING:
    from pathlib import Path

    from components.core.store import Store

FILE = "evaluation.json"
KIND = "evaluation"
FORMAT = 6
BEFORE_ROBUSTNESS = 5
"""The format that lacked `robustness` and `cost`, and is read as one where neither was asked for."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval; all None where the rows say nothing of it."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Candidate minus baseline on the same rows, in points of the metric, positive = better; None where unknown.

    Where the rows are too few for an interval, `low` and `high` are None and `points` is not.
    """

    points: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """One metric of both models.

    Attributes:
        name: for programs, e.g. the name of a KFP metric.
        label: for people.
        percent: whether people read it in per cent.
        points_per_unit: how many points a difference of 1.0 is.
        higher_is_better: direction.
        interval: how the intervals of `candidate` and `baseline` were made.
        candidate, baseline: its value for each.
        difference: between them.
    """

    name: str
    label: str
    percent: bool
    points_per_unit: float
    higher_is_better: bool
    interval: str
    candidate: Estimate
    baseline: Estimate
    difference: Difference

    @property
    def points(self) -> float:
        """The difference in points, positive = better; UserError when no row says anything of the metric."""
        if self.difference.points is None:
            raise UserError(
                f"{self.label} cannot be computed on the evaluated rows; evaluate on rows that have targets"
            )
        return self.difference.points


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on some of the rows: those of a class, or of a slice of the data set.

    Attributes:
        kind: what groups these rows: "class", "slice", …
        name: which: "boot", "camera=night".
        metric: label of what is compared; `percent` says how people read it.
        proportion: whether each row is right or wrong, so that `gained` and `lost` say all of the difference.
        support: rows.
        candidate, baseline: the metric of each; None without a row that says something of it.
        points, low, high: candidate minus baseline in points, positive = better, with the paired interval; None where
            the rows say nothing of it. Where they are too few for an interval, only low and high are None.
        gained, lost: rows on which the candidate alone did better, and worse.
    """

    kind: str
    name: str
    metric: str
    percent: bool
    proportion: bool
    support: int
    candidate: float | None
    baseline: float | None
    points: float | None
    low: float | None
    high: float | None
    gained: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of calls with `batch` rows on `threads` threads; see `core.runtime.latency`.

    Attributes:
        samples: warm calls that were timed; `p50_ms`, `p90_ms` and `cpu_ms` are of these.
        p50_ms, p90_ms: milliseconds of wall time of a warm call: one after others of the same model.
        cold_ms: median of the first call after the other model.
        cpu_ms: median CPU time of a warm call.
        rows_per_second: at the median.
        units_per_second: what the task counts in a call (pieces), over all timed calls; None where it counts nothing.
    """

    batch: int
    threads: int
    samples: int
    p50_ms: float
    p90_ms: float
    cold_ms: float | None
    cpu_ms: float
    rows_per_second: float
    units_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """The measurements of one model.

    Attributes:
        digest: of its artifact's manifest.
        scheme: float32, int8, …
        inputs: what it takes, for people, by title.
        size_bytes: of all its ONNX files, and of what these need beside them (a vocabulary).
        graphs: the size of each, by the name of the graph.
        parameters, macs: of one row.
        latency: by batch size, ascending.
        integer: how many operators run as integers, as its provenance has it; None for a float model.
        details: the task's own, for its pages.
    """

    digest: str
    scheme: str
    inputs: dict[str, str]
    size_bytes: int
    graphs: dict[str, int]
    parameters: int
    macs: int
    latency: tuple[Timing, ...]
    integer: dict[str, Any] | None
    details: dict[str, Any]

    @property
    def beside_bytes(self) -> int:
        """The part of the size that is no graph: files that the ONNX files need beside them."""
        return self.size_bytes - sum(self.graphs.values())

    def at(self, batch: int) -> Timing:
        """The latency at a batch size that was measured."""
        return next(timing for timing in self.latency if timing.batch == batch)


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How many times as fast the candidate is at a batch size, warm, with the interval of this ratio.

    It is estimated from pairs of neighbouring blocks of calls, and so differs a little from the ratio of the medians.
    """

    batch: int
    ratio: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class RuntimeFigures:
    """The candidate in one of the runtimes that are installed where it was measured, all in alternating blocks.

    Attributes:
        name, version: of the runtime; the first one is onnxruntime, which every other figure was made with.
        latency: by batch size, ascending; empty where it was not measured.
        speedups: how many times as fast it is as onnxruntime, by batch size; empty for onnxruntime itself.
        difference: the largest difference of an output from onnxruntime's on the inputs of the self-test, relative to
            the largest output; None for onnxruntime itself, and where it does not run them or answers with no numbers.
        computes_the_same: whether that is within what the self-test allows to rounding.
        agreement: share of decisions on rows of the split that are onnxruntime's; None where none were compared.
        compared_rows: how many rows these are.
        refused: why it was not measured, in a few words; empty where it was.
    """

    name: str
    version: str
    latency: tuple[Timing, ...]
    speedups: tuple[Speedup, ...]
    difference: float | None
    computes_the_same: bool
    agreement: float | None
    compared_rows: int
    refused: str

    def at(self, batch: int) -> Timing | None:
        """The latency at a batch size; None where that was not measured."""
        return next((timing for timing in self.latency if timing.batch == batch), None)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the candidate keeps every limit of the budget, and one check per limit that was given."""

    meets: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class NearCopiesFacts:
    """Near copies that data preparation found.

    Attributes:
        grouped: whether it kept each group in one split.
        rows, groups: how many rows have a near copy, and how many groups they are.
        in_training: of the test and validation splits, the rows with a near copy in training.
    """

    grouped: bool
    rows: int
    groups: int
    in_training: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """The data of an evaluation: fingerprint, rows of each split, classes (none for a task without), licence if known.

    description: what must be said of the rows beside each figure; None where there is nothing.
    near_copies: None where no test row has one in training and none were asked to be grouped.
    """

    fingerprint: str
    counts: dict[str, int]
    classes: tuple[str, ...]
    licence: str | None
    description: str | None
    near_copies: NearCopiesFacts | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row to look at.

    Attributes:
        digest: the row's.
        kind: why it was picked: "wrong", "right", "worst", "typical", "best".
        score: the primary metric of the candidate on this row alone; None where it says nothing.
        said: what the candidate predicted, where a short text says it.
        row: the row's columns, bytes as base64, for who wants to predict it again; None if it is large.
        shown: the task's own, for its pages; what `row` holds as base64 is not repeated in it.
    """

    digest: str
    kind: str
    score: float | None
    said: str | None
    row: dict[str, Any] | None
    shown: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The whole document.

    Attributes:
        task: name of the task.
        row_noun: what a row is, in the plural: "images".
        timed_units: what `Timing.units_per_second` counts, in the plural; empty where it counts nothing.
        split, rows: what was read.
        part: the part of the split that was read; 1 of 1 is all of it.
        left_out: rows of it that were not read, since one of the models was trained or chosen on them.
        dataset: of which data set.
        confidence: coverage of every interval.
        paired: how the intervals of the differences were made.
        metrics: the first is the one that decisions are made by.
        groups, slices: comparisons besides the whole: the task's (per class), and the data set's.
        candidate, baseline: the two models.
        speedups: by batch size, ascending; the first is of one row.
        size_ratio: bytes of the baseline per byte of the candidate.
        verdict: against `budget`.
        host: the machine; see `core.runtime.host`.
        method: how all of it was measured, in sentences.
        warnings: what was not measured as it should be, in sentences; whoever shows the figures shows these.
        samples: rows to look at.
        robustness: the primary metric on corrupted rows; None where that was not asked for.
        cost: per million rows; None where no price was given.
        runtimes: the candidate in each runtime, onnxruntime first; empty where only that is installed, or on data
            that choices are made by.

    Raises:
        UserError: no metric, or models that were not timed at the batch sizes of the speedups, one row among them.
    """

    task: str
    row_noun: str
    split: str
    rows: int
    part: SplitPart
    left_out: int
    dataset: DatasetFacts
    confidence: float
    paired: str
    metrics: tuple[MetricResult, ...]
    groups: tuple[Comparison, ...]
    slices: tuple[Comparison, ...]
    candidate: ModelFigures
    baseline: ModelFigures
    speedups: tuple[Speedup, ...]
    size_ratio: float
    verdict: Verdict
    budget: Budget
    host: dict[str, Any]
    method: str
    warnings: tuple[str, ...]
    samples: tuple[Sample, ...]
    timed_units: str = ""
    robustness: Robustness | None = None
    cost: Cost | None = None
    runtimes: tuple[RuntimeFigures, ...] = ()

    def __post_init__(self) -> None:
        if not self.metrics:
            raise UserError("an evaluation has at least one metric, got none")
        timed = [[timing.batch for timing in side.latency] for side in (self.candidate, self.baseline)]
        batches = [speedup.batch for speedup in self.speedups]
        if any(sizes != batches for sizes in timed) or batches[:1] != [1]:
            raise UserError(f"both models must be timed at batch 1 and the same others, got {timed[0]} and {timed[1]}")

    @property
    def primary(self) -> MetricResult:
        """The metric that decisions are made by."""
        return self.metrics[0]

    @property
    def aside(self) -> str:
        """A remark on the rows, in brackets after their number: " (synthetic scenes)"; most often empty."""
        part = "" if self.part.is_whole else self.part.said
        seen = f"without {self.left_out:,} that a model had seen before" if self.left_out else ""
        found, total = self.dataset.near_copies, self.dataset.counts.get(self.split, 0)
        near = found.in_training.get(self.split, 0) if found else 0
        copies = f"{near:,} of {total:,} have a near copy in training" if near else ""
        said = "; ".join(filter(None, (self.dataset.description, part, seen, copies)))
        return f" ({said})" if said else ""

    @property
    def batches(self) -> list[int]:
        """The batch sizes that were timed."""
        return [speedup.batch for speedup in self.speedups]

    @property
    def speedup(self) -> float:
        """How many times as fast the candidate is with one row."""
        return self.speedups[0].ratio

    def to_json(self) -> dict[str, Any]:
        """The content of evaluation.json; without `runtimes` where there are none to tell of."""
        document = {"format": FORMAT, **to_json(self)}
        if not self.runtimes:
            del document["runtimes"]
        return document

    @classmethod
    def from_json(cls, document: Any) -> "Evaluation":
        """The inverse of `to_json`.

        Raises:
            UserError: another format; or the first field that is missing, unknown or of another type, by its path.
        """
        found = document.get("format") if isinstance(document, dict) else None
        if found == BEFORE_ROBUSTNESS:
            document, found = {**document, "robustness": None, "cost": None}, FORMAT
        if isinstance(found, int) and not isinstance(found, bool) and 0 < found < FORMAT:
            raise UserError(
                f"this evaluation was made by an earlier version of trimtab (format {found}); evaluate again"
            )
        if found != FORMAT:
            raise UserError(f"{FILE} must have format {FORMAT}, got {found!r}; evaluate again")
        try:
            fields = {name: value for name, value in document.items() if name != "format"}
            return parse(cls, {"runtimes": [], **fields})
        except ValueError as error:
            raise UserError(f"{FILE} cannot be read: {error}") from None


def read_evaluation(artifact: "str | Path | Manifest", store: "Store") -> Evaluation:
    """The evaluation at an artifact's path, or of its manifest.

    Raises:
        UserError: it is no evaluation, or one that cannot be read; StoreError: the store has not its bytes.
    """
    manifest = artifact if isinstance(artifact, Manifest) else read_manifest(artifact, kind=KIND)
    content = read_file(manifest, FILE, store)
    try:
        document = parse_json(content)
    except ValueError as error:
        raise UserError(f"{FILE} is not valid JSON: {error}") from None
    return Evaluation.from_json(document)


def encode_evaluation(evaluation: Evaluation) -> bytes:
    """The bytes of evaluation.json: sorted and indented."""
    return json.dumps(evaluation.to_json(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def without_samples(evaluation: Evaluation) -> Evaluation:
    """The same without the rows of the data set, which do not belong into a release."""
    return replace(evaluation, samples=())
