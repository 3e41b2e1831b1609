"""The first screen of the report: what came out, or what failed."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.evaluation.blocks import cost_note, verdict_callout, warnings_callout
from components.core.evaluation.document import Evaluation
from components.core.evaluation.runtime_blocks import runtime_blocks
from components.core.numbers import capitalized, duration, figure_of_merit, megabytes, milliseconds
from components.core.report.page import Block, Callout, Cell, Details, Log, Section, Tile, Tiles, facts, table
from components.run_report.comparison import COLUMNS, before_and_after, fold
from components.run_report.evidence import Evidence
from components.run_report.records import Task
from components.run_report.retraining import outcome, promotion_of

_LOG_LINES = 60


def headline(evidence: Evidence) -> tuple[str, str]:
    """The title of the report and the sentence below it."""
    final = evidence.final
    if evidence.failed or not evidence.succeeded:
        state = "was cancelled" if evidence.ending == "cancelled" else "failed"
        where = f" at {evidence.failed[0].name}" if evidence.failed else ""
        said = evidence.failed[0].error if evidence.failed else evidence.error
        if evidence.first("retraining.json") and not promotion_of(evidence):
            said = f"{said}; the champion is untouched".removeprefix("; ")
        return f"The run {state}{where}", said
    if retrained := outcome(evidence):
        return retrained
    if final is None:
        return "The run succeeded", "It has no evaluation on test data, so there is no result to show."
    size = fold(final.baseline.size_bytes, final.candidate.size_bytes, "smaller", "larger")
    speed = fold(final.speedup, 1, "faster", "slower")
    title = f"{' '.join(size)}, {' '.join(speed)}"
    primary = final.primary
    drop = -primary.points
    change = f"{drop:.2f} points below" if drop >= 0 else f"{-drop:.2f} points above"
    if not round(drop, 2):
        change = "the same as"
    after, before = (
        figure_of_merit(side.value, percent=primary.percent) for side in (primary.candidate, primary.baseline)
    )
    lead = (
        f"{capitalized(primary.label)} {after} on {final.rows:,} test {final.row_noun}{final.aside}, {change} "
        f"the {final.baseline.scheme} baseline's {before}."
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
        for row in before_and_after(final)
    ]
    columns = list(COLUMNS)
    columns[1] = f"baseline ({final.baseline.scheme})"
    columns[2] = f"release ({final.candidate.scheme})"
    caption = (
        f"Second lines: {100 * final.confidence:g} % intervals of the metrics ({final.primary.interval}; of the change "
        f"{final.paired}); of latency and throughput the p90, the first call after the other model (cold), CPU time, "
        "and the interval of the ratio."
    )
    caption = " ".join(filter(None, (caption, cost_note(final))))
    note = _test_note(final, evidence.first("judgement.json"))
    reason = str((evidence.decision or {}).get("reason", ""))
    verdict = verdict_callout(final, candidate="release", unlimited=reason)
    blocks: list[Block] = [_tiles(final), verdict, *warnings_callout(final), table(columns, rows, caption=caption)]
    return Section("Result", [*blocks, *runtime_blocks(final)], note=note)


def _test_note(final: Evaluation, judgement: Mapping[str, Any] | None) -> str:
    """Earlier uses of the test split."""
    rows = f"{final.rows:,} {final.row_noun}{final.aside}"
    if judgement is None:
        unused = "on which nothing in it was chosen, calibrated or stopped"
        return f"Measured once in this run, on the test split: {rows} {unused}."
    uses = judgement.get("test_uses")
    judged = "a part of it, which" if judgement.get("test_part") else "it: it"
    times = f"has measured {uses:,} releases of this name" if uses else "has been used before"
    return (
        f"Measured on the test split: {rows} on which nothing was calibrated or stopped. Each retraining is judged on "
        f"{judged} {times}, so the best of them look a little better than they are."
    )


def _tiles(final: Evaluation) -> Tiles:
    before, after, primary = final.baseline, final.candidate, final.primary
    values = [figure_of_merit(side.value, percent=primary.percent) for side in (primary.baseline, primary.candidate)]
    tiles = [
        Tile(capitalized(primary.label), f"{primary.points:+.2f}".replace("-", "−"), "points", " → ".join(values)),
        Tile(
            "Size",
            *fold(before.size_bytes, after.size_bytes, "smaller", "larger"),
            f"{megabytes(before.size_bytes)} → {megabytes(after.size_bytes)}",
        ),
        Tile(
            "Latency, batch 1",
            *fold(final.speedup, 1, "faster", "slower"),
            f"{milliseconds(before.at(1).p50_ms)} → {milliseconds(after.at(1).p50_ms)}",
        ),
    ]
    for speedup in final.speedups[1:]:
        slow, fast = (side.at(speedup.batch).rows_per_second for side in (before, after))
        tiles.append(
            Tile(
                f"Throughput, batch {speedup.batch}",
                *fold(speedup.ratio, 1, "faster", "slower"),
                f"{slow:,.0f} → {fast:,.0f} {final.row_noun}/s",
            )
        )
    return Tiles(tuple(tiles))


def failure_section(evidence: Evidence) -> Section | None:
    """The failed task with its error and the end of its log; None if none failed."""
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
        blocks.append(Callout(f"The pipeline ended as {evidence.ending}", evidence.error, "bad"))
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
