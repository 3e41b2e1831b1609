"""Record of a finished run for a tracking server: parameters, metrics, tags and the release's card."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.bundles.release_files import CARD
from components.core.bundles.release_files import EVALUATION as EVALUATION_FILE
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from components.core.store import NotFound, Store
from components.run_report.evidence import Evidence
from components.run_report.search import training_curves
from components.run_report.summary import find_release, summarize
from pipelines.overview.contents import Run

LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow refuses more than 6,000 and 8,000."""

_NO_NAME = re.compile(r"[^\w\-. /]")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value. `step` is the epoch of a training, 0 for what was measured once."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """All that is told of a run.

    Attributes:
        run: its id here.
        pipeline: its name.
        succeeded: whether the pipeline ran to its end.
        started, ended: seconds since 1970.
        parameters: every parameter, written, by its flat name.
        metrics: figures of the result, and curves of the trainings.
        tags: run, pipeline and release, under names that begin with `trimtab.`.
        files: of the release, by name: card and evaluation; empty without a release.
    """

    run: str
    pipeline: str
    succeeded: bool
    started: float
    ended: float
    parameters: dict[str, str]
    metrics: tuple[Metric, ...]
    tags: dict[str, str]
    files: dict[str, str]


def recorded_of(run: Run, store: Store) -> Recorded:
    """Record of a run in the store's journal.

    Raises:
        UserError: the run has no recorded end, for it is still at work or was killed.
    """
    if run.evidence.ending not in ("succeeded", "failed", "cancelled"):
        raise UserError(f"the run {run.id} has no recorded end ({run.status}); record it once it has ended")
    found = summarize(run.evidence, report="")["outputs"]
    release = find_release(run.evidence)
    tags = {"run": run.id, "pipeline": run.pipeline, "store": store.uri, "title": run.title}
    if run.release:
        tags["release"] = run.release
        tags |= {f"release_{name}": str(release[name]) for name in ("digest", "uri") if name in release}
    tags |= {name: value for name, value in found.items() if isinstance(value, str) and name not in tags}
    return Recorded(
        run=run.id,
        pipeline=run.pipeline,
        succeeded=run.evidence.succeeded,
        started=run.started,
        ended=run.started + run.seconds,
        parameters={name: _written(value) for name, value in sorted(run.evidence.parameters.items())},
        metrics=tuple(_metrics(run.evidence, found)),
        tags={f"trimtab.{name}": _written(value) for name, value in tags.items() if value},
        files=dict(_files(release, store)),
    )


def _metrics(evidence: Evidence, outputs: Mapping[str, Any]) -> Iterator[Metric]:
    figures = {**outputs, **(_figures(evidence.final) if evidence.final else {})}
    for name, value in figures.items():
        if isinstance(value, bool | int | float):
            yield Metric(name=_named(name), value=float(value))
    for training, curves in training_curves(evidence).items():
        for curve, points in curves.items():
            yield from (Metric(name=_named(f"{training}/{curve}"), value=y, step=round(x)) for x, y in points)


def _figures(final: Evaluation) -> dict[str, float]:
    """Of release and baseline on the test split, beside what the outputs of the run have."""
    found: dict[str, float] = {}
    for prefix, side in (("", final.candidate), ("baseline_", final.baseline)):
        found |= {f"{prefix}latency_batch{one.batch}_ms": one.p50_ms for one in side.latency}
        found |= {f"{prefix}rows_per_second_batch{one.batch}": one.rows_per_second for one in side.latency}
        found |= {f"{prefix}size_mb": side.size_bytes / 1e6, f"{prefix}parameters": side.parameters}
        found |= {f"{prefix}macs": side.macs}
    return found


def _files(release: Mapping[str, Any], store: Store) -> Iterator[tuple[str, str]]:
    if not {"name", "version"} <= set(release):
        return
    for name in (CARD, EVALUATION_FILE):
        try:
            yield name, store.releases.read(release["name"], release["version"], name).decode()
        except NotFound:
            # Deleted since: its name and digest are told all the same.
            continue


def _named(name: str) -> str:
    """The name with characters that MLflow allows in one."""
    return _NO_NAME.sub("_", name)


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
