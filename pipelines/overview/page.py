"""The overview as one HTML page: tables, and figures as inline SVG."""

import math
import time
from collections import defaultdict
from datetime import datetime
from typing import Any

from components.core.numbers import MISSING, duration, figure_of_merit, milliseconds, percent
from components.core.report.figures import Point, line_chart, scatter
from components.core.report.page import Block, Callout, Cell, Columns, Section, figure, render_page, table
from components.core.stage_pages.drift import drift_sentence
from components.core.store import CHAMPION, Champion
from components.run_report.retraining import retraining_outputs
from pipelines.overview.contents import Contents, Released, Run

_TONES: dict[str, Any] = {"succeeded": "good", "failed": "bad", "cancelled": "warn"}
_SMALLEST, _LARGEST = 4.0, 16.0
"""Radii of dots, pixels."""
_DAY = 86400.0


def overview_page(contents: Contents) -> str:
    """The page as text. Run reports are linked as `runs/RUN.html`."""
    releases = {one.name: one for one in contents.releases}
    sections = [
        *([Section("Not everything could be read", _problems(contents))] if contents.problems else []),
        Section("Releases", _releases(contents)),
        *(_champion(champion, releases) for champion in contents.champions),
        *_drift(contents.runs),
        Section("Runs", _runs(contents.runs, releases)),
    ]
    counted = [(len(contents.runs), "run"), (len(contents.releases), "release")]
    lead = ", ".join(f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in counted)
    now = [champion.step.release for champion in contents.champions]
    if now:
        lead += f"; champion: {', '.join(now)}"
    return render_page("Runs and releases", sections, eyebrow=f"trimtab · store {contents.store}", lead=f"{lead}.")


def _problems(contents: Contents) -> Block:
    return Callout(f"{len(contents.problems)} could not be read", " · ".join(contents.problems[:20]), "warn")


def _runs(runs: list[Run], releases: dict[str, Released]) -> Block:
    rows = [
        [
            Cell(run.id, link=f"runs/{run.id}.html"),
            run.pipeline or MISSING,
            Cell(run.status, tone=_TONES.get(run.status, "soft")),
            _clock(run.started),
            duration(run.seconds),
            Cell(run.title, _which(run.release, releases)),
        ]
        for run in reversed(runs)
    ]
    return table(["run", "pipeline", "status", "started (UTC)", "took", "result"], rows)


def _which(release: str, releases: dict[str, Released]) -> str:
    """A release, with what must be said of the rows that its figures are of."""
    data = releases[release].data if release in releases else ""
    return f"{release} · {data}" if data else release


def _releases(contents: Contents) -> list[Block]:
    champions = {champion.step.release for champion in contents.champions}
    groups: dict[tuple[str, str], list[Released]] = defaultdict(list)
    for one in contents.releases:
        groups[one.evaluation.task, one.evaluation.primary.label].append(one)
    blocks: list[Block] = []
    for (task, label), found in sorted(groups.items()):
        is_percent = found[0].evaluation.primary.percent
        caption = (
            "Area of a dot: size, with a vocabulary. Filled: no other release is better in both. Ringed: champion."
        )
        drawn = scatter(
            _points(found, champions), title=f"{task}: {label} by latency", x="latency, batch 1 (ms)", y=label,
            percent=is_percent,
        )  # fmt: skip
        rows = [
            [
                Cell(one.name, " · ".join(filter(None, ("champion" if one.name in champions else "", one.data)))),
                figure_of_merit(one.evaluation.primary.candidate.value, percent=is_percent),
                milliseconds(one.evaluation.candidate.at(1).p50_ms),
                f"{one.size_mb:.2f} MB",
                Cell("yes", tone="good") if one.evaluation.verdict.meets else Cell("no", tone="bad"),
            ]
            for one in found
        ]
        shown = table(
            ["release", label, "latency", "size", "in budget"], rows,
            marked=[number for number, one in enumerate(found) if one.name in champions],
        )  # fmt: skip
        blocks.append(Columns((figure(drawn, caption), shown)))
    return blocks or [Callout("No releases", "A run that ends well exports one.")]


def _points(found: list[Released], champions: set[str]) -> list[Point]:
    largest = max(one.size_mb for one in found) or 1.0
    placed = [(one.evaluation.candidate.at(1).p50_ms, one.evaluation.primary.candidate.value or 0.0) for one in found]
    return [
        Point(
            name=one.name,
            x=x,
            y=y,
            kind="chosen" if one.name in champions else "candidate",
            on_front=not any(a <= x and b >= y and (a, b) != (x, y) for a, b in placed),
            radius=max(_SMALLEST, _LARGEST * math.sqrt(one.size_mb / largest)),
            detail=f"{one.name}: {x:.3g} ms, {one.size_mb:.2f} MB",
        )
        for one, (x, y) in zip(found, placed, strict=True)
    ]


def _champion(champion: Champion, releases: dict[str, Released]) -> Section:
    rows: list[list[Any]] = []
    accuracy: list[tuple[float, float]] = []
    latency: list[tuple[float, float]] = []
    size: list[tuple[float, float]] = []
    measured = [releases.get(step.release) for step in champion.history]
    times = [_seconds(step.when) for step in champion.history]
    in_days = bool(times) and times[-1] - times[0] > _DAY
    label, is_percent = "accuracy", False
    for number, (step, one, when) in enumerate(zip(champion.history, measured, times, strict=True), start=1):
        row = [
            Cell(_which(step.release, releases), step.why), step.when.replace("T", " ").replace("+00:00", ""),
            step.action, Cell(step.who, step.run),
        ]  # fmt: skip
        if one is None:
            rows.append([*row, None, None, None])
            continue
        primary, x = one.evaluation.primary, (when - times[0]) / _DAY if in_days else float(number)
        label, is_percent = primary.label, primary.percent
        accuracy.append((x, primary.candidate.value or 0.0))
        latency.append((x, one.evaluation.candidate.at(1).p50_ms))
        size.append((x, one.size_mb))
        rows.append(
            [
                *row,
                figure_of_merit(primary.candidate.value, percent=is_percent),
                milliseconds(one.evaluation.candidate.at(1).p50_ms),
                f"{one.size_mb:.2f} MB",
            ]
        )
    axis = "days since the first promotion" if in_days else "champion number"
    charts = [
        (label, accuracy, label, is_percent), ("latency", latency, "latency, batch 1 (ms)", False),
        ("size", size, "size (MB)", False),
    ]  # fmt: skip
    drawn = [
        figure(line_chart({name: points}, title=f"{name} of the champion", x=axis, y=unit, percent=as_percent))
        for name, points, unit, as_percent in charts
        if len(points) > 1
    ]
    shown = table(["release", "when (UTC)", "step", "by", label, "latency", "size"], rows[::-1])
    note = "Measured when each was released, each on the machine and test data of its run."
    title = "Champion" if champion.ref == CHAMPION else f"Champion: {champion.ref}"
    return Section(title, [*([Columns(tuple(drawn))] if drawn else []), shown], note=note)


def _drift(runs: list[Run]) -> list[Section]:
    rows: list[list[Any]] = []
    labels: list[tuple[float, float]] = []
    features: list[tuple[float, float]] = []
    for run in runs:
        document = run.evidence.first("drift.json")
        if document is None:
            continue
        number = len(rows) + 1.0
        outputs = retraining_outputs(run.evidence)
        moved, told = document.get("labels"), document.get("features")
        if moved:
            labels.append((number, float(moved["distance"])))
        if told:
            features.append((number, float(told["auc"])))
        rows.append(
            [
                Cell(run.id, link=f"runs/{run.id}.html"),
                _clock(run.started),
                Cell(drift_sentence(document)),
                percent(moved["distance"], digits=1) if moved else None,
                f"{told['auc']:.3f}" if told else None,
                Cell(outputs.get("action", MISSING), "promoted" if outputs.get("promoted") else ""),
            ]
        )
    if not rows:
        return []
    lines = {"label shift": labels, "feature AUC": features}
    blocks: list[Block] = []
    if len(rows) > 1:
        drawn = line_chart(lines, title="Drift of each retraining", x="retraining", y="effect, 0 to 1")
        blocks.append(
            figure(
                drawn, "Label shift: total variation distance. AUC 0.5: new data cannot be told from the champion's."
            )
        )
    columns = ["run", "started (UTC)", "what arrived", "label shift", "feature AUC", "action"]
    return [Section("Drift", [*blocks, table(columns, rows[::-1])])]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds else MISSING


def _seconds(when: str) -> float:
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError:
        return 0.0
