"""The first screen of the report: what came out, or what failed."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.report.numbers import duration, megabytes, milliseconds, percent
from components.core.report.page import Block, Callout, Cell, Details, Log, Section, Tile, Tiles, facts, table
from components.run_report.comparison import COLUMNS, compare, fold
from components.run_report.evidence import Evidence
from components.run_report.records import Task
from components.run_report.retraining import outcome, promotion_of

_LOG_LINES = 60


def headline(evidence: Evidence) -> tuple[str, str]:
    """The title of the report and the sentence below it."""
    final = evidence.final
    if evidence.failed or not evidence.succeeded:
        state = {"CANCELLED": "was cancelled"}.get(evidence.state.upper(), "failed")
        where = f" at {evidence.failed[0].name}" if evidence.failed else ""
        said = evidence.failed[0].error if evidence.failed else evidence.error
        if evidence.first("retraining.json") and not promotion_of(evidence):
            said = f"{said}; the champion is untouched".removeprefix("; ")
        return f"The run {state}{where}", said
    if retrained := outcome(evidence):
        return retrained
    if final is None:
        return "The run succeeded", "It has no evaluation on test data, so there is no result to show."
    size = fold(final["baseline"]["size_bytes"], final["candidate"]["size_bytes"], "smaller", "larger")
    speed = fold(final["speedup"]["batch1"], 1, "faster", "slower")
    title = f"{' '.join(size)}, {' '.join(speed)}"
    drop = -final["difference"]["top1_points"]
    change = f"{drop:.2f} points below" if drop >= 0 else f"{-drop:.2f} points above"
    lead = (
        f"Top-1 {percent(final['candidate']['top1'])} on {final['rows']:,} test images, {change} "
        f"the fp32 baseline's {percent(final['baseline']['top1'])}."
    )
    return title, lead


def result_section(evidence: Evidence) -> Section | None:
    """Large numbers, the verdict against the budget, and before and after."""
    final = evidence.final
    if final is None:
        return None
    rows = [
        [
            row.name,
            Cell(row.before, row.before_note),
            Cell(row.after, row.after_note),
            Cell(row.change, row.change_note),
        ]
        for row in compare(final)
    ]
    columns = list(COLUMNS)
    columns[1] = f"baseline ({final['baseline'].get('scheme', 'float32')})"
    columns[2] = f"release ({final['candidate'].get('scheme', '?')})"
    confidence, how = final["difference"].get("confidence", 0.95), final["difference"].get("method")
    caption = (
        f"Second lines: {confidence:.0%} intervals of the accuracies{f' ({how})' if how else ''}, p90 of the times."
    )
    note = (
        f"Measured once on the test split: {final['rows']:,} images on which nothing was chosen, calibrated or stopped."
    )
    blocks: list[Block] = [_tiles(final), verdict(final, evidence.decision), table(columns, rows, caption=caption)]
    return Section("Result", blocks, note=note)


def _tiles(final: Mapping[str, Any]) -> Tiles:
    before, after = final["baseline"], final["candidate"]
    one, many = "latency_batch1", "images_per_second_batch32"
    change = f"{final['difference']['top1_points']:+.2f}".replace("-", "−")
    return Tiles(
        (
            Tile("Accuracy, top-1", change, "points", f"{percent(before['top1'])} → {percent(after['top1'])}"),
            Tile(
                "Size",
                *fold(before["size_bytes"], after["size_bytes"], "smaller", "larger"),
                f"{megabytes(before['size_bytes'])} → {megabytes(after['size_bytes'])}",
            ),
            Tile(
                "Latency, batch 1",
                *fold(final["speedup"]["batch1"], 1, "faster", "slower"),
                f"{milliseconds(before[one]['p50_ms'])} → {milliseconds(after[one]['p50_ms'])}",
            ),
            Tile(
                "Throughput, batch 32",
                *fold(final["speedup"]["batch32"], 1, "faster", "slower"),
                f"{before[many]:,.0f} → {after[many]:,.0f} images/s",
            ),
        )
    )


def verdict(final: Mapping[str, Any], decision: Mapping[str, Any] | None) -> Callout:
    """Whether the release keeps the budget, limit by limit."""
    checks = (final.get("verdict") or {}).get("checks") or []
    if not checks:
        return Callout("No limits were given", (decision or {}).get("reason", ""), "info")
    written = [
        f"{_limit(check['limit'])} {check['measured']:.4g}, allowed {check['allowed']:g}"
        + ("" if check["met"] else " (missed)")
        for check in checks
    ]
    if all(check["met"] for check in checks):
        return Callout("The release keeps the budget", " · ".join(written), "good")
    return Callout("The release misses the budget", " · ".join(written), "bad")


_LIMITS = {"max_latency_ms": "latency in ms", "max_size_mb": "size in MB", "max_drop": "lost points"}


def _limit(name: str) -> str:
    return _LIMITS.get(name, name)


def failure_section(evidence: Evidence) -> Section | None:
    """What failed, with its error and the end of its log; None if nothing did."""
    if evidence.succeeded and not evidence.failed:
        return None
    blocks: list[Block] = []
    for task in evidence.failed:
        lane = evidence.lanes.get(task.lane)
        where = f"{task.name} ({lane})" if lane else task.name
        blocks.append(Callout(f"{where} failed after {duration(task.seconds)}", task.error or "no message", "bad"))
        tail = log_tail(task)
        if tail:
            blocks.append(Details(f"The end of {task.name}'s log", (Log(tail),), unfolded=True))
    if not blocks:
        blocks.append(Callout(f"The pipeline ended as {evidence.state.lower()}", evidence.error, "bad"))
    done = [task for task in evidence.tasks if task.status == "succeeded"]
    rest = [task for task in evidence.tasks if task.status not in ("succeeded", "failed")]
    blocks.append(
        facts(
            {
                "done": ", ".join(_name(task, evidence) for task in done) or "nothing",
                "not done": ", ".join(f"{_name(task, evidence)} ({task.status})" for task in rest) or None,
                "run it again": "what is done is taken from the cache; only the rest is computed",
            }
        )
    )
    return Section("What failed", blocks)


def _name(task: Task, evidence: Evidence) -> str:
    lane = evidence.lanes.get(task.lane)
    return f"{task.name} [{lane}]" if lane else task.name


def log_tail(task: Task, *, lines: int = _LOG_LINES) -> str:
    """The last lines of a task's log, if the log is on this machine."""
    if not task.log:
        return ""
    try:
        with Path(task.log).open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).strip()
    except OSError:
        return ""
