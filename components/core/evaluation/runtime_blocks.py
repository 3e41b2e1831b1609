"""How the runtimes are shown, in the evaluation's page, the run report, the card and on the command line."""

from collections.abc import Sequence

from components.core.evaluation.document import Evaluation, RuntimeFigures
from components.core.numbers import MISSING, milliseconds, percent, times
from components.core.report.page import Block, table


def runtime_blocks(evaluation: Evaluation) -> list[Block]:
    """A row per runtime, and below it which one to serve with; empty where one alone is installed."""
    if not evaluation.runtimes:
        return []
    columns, rows = runtime_table(evaluation.runtimes, evaluation.row_noun)
    return [table(columns, rows, caption=runtime_sentence(evaluation.runtimes, evaluation.host.get("processor")))]


def runtime_table(runtimes: Sequence[RuntimeFigures], row_noun: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: name, version, latency at batch 1, throughput at the largest batch, answers.

    Args:
        runtimes: onnxruntime first, and measured.
        row_noun: what a row is, in the plural.
    """
    batches = [timing.batch for timing in runtimes[0].latency]
    columns = ["runtime", "version"]
    if batches:
        columns += ["latency, batch 1", f"throughput, batch {batches[-1]}"]
    rows = []
    for one in runtimes:
        row = [one.name, one.version]
        if batches:
            row += [_latency(one), _throughput(one, batches[-1], row_noun)]
        rows.append([*row, _answers(one, row_noun)])
    return [*columns, "answers"], rows


def recommended(runtimes: Sequence[RuntimeFigures]) -> RuntimeFigures:
    """The runtime to serve with: at batch 1 the fastest of those that compute the same and are faster than onnxruntime.

    Faster is one whose whole interval of the ratio lies above 1; without one it is onnxruntime, the first.
    """
    faster = [one for one in _comparable(runtimes) if one.speedups[0].low > 1]
    return max(faster, key=lambda one: one.speedups[0].ratio, default=runtimes[0])


def runtime_sentence(runtimes: Sequence[RuntimeFigures], processor: str | None) -> str:
    """Which one to serve with, and why."""
    best, others = recommended(runtimes), _comparable(runtimes)
    here = f"here ({processor})" if processor else "here"
    if best is not runtimes[0]:
        found = best.speedups[0]
        said = f"Serve with {best.name}: it is {times(found.ratio)} as fast at batch 1 {here} as {runtimes[0].name}"
        return f"{said} ({times(found.low)} to {times(found.high)}). The figures of quality are {runtimes[0].name}'s."
    if not others:
        return f"Serve with {best.name}: nothing else was measured {here} that computes the same."
    rival = max(others, key=lambda one: one.speedups[0].ratio)
    found = rival.speedups[0]
    low, high = times(1 / found.high), times(1 / found.low)
    if found.high < 1:
        said = f"it is {times(1 / found.ratio)} as fast at batch 1 {here} as {rival.name} ({low} to {high})"
    else:
        said = f"{rival.name} cannot be told to be faster at batch 1 {here}"
        said += f" ({times(found.low)} to {times(found.high)} as fast)"
    return f"Serve with {best.name}: {said}."


def _comparable(runtimes: Sequence[RuntimeFigures]) -> list[RuntimeFigures]:
    return [one for one in runtimes[1:] if one.computes_the_same and one.speedups]


def _latency(one: RuntimeFigures) -> str:
    timing = one.at(1)
    return milliseconds(timing.p50_ms) + _ratio(one, 1) if timing else MISSING


def _throughput(one: RuntimeFigures, batch: int, row_noun: str) -> str:
    timing = one.at(batch)
    return f"{timing.rows_per_second:,.0f} {row_noun}/s" + _ratio(one, batch) if timing else MISSING


def _ratio(one: RuntimeFigures, batch: int) -> str:
    found = next((speedup for speedup in one.speedups if speedup.batch == batch), None)
    return f" ({times(found.ratio)} as fast)" if found else ""


def _answers(one: RuntimeFigures, row_noun: str) -> str:
    if one.refused:
        return f"not measured: {one.refused}"
    if one.difference is None:
        return "those that were evaluated" if one.computes_the_same else "computes something else: no numbers"
    apart = f"largest difference {percent(one.difference)} of the largest output"
    said = f"the same but for rounding: {apart}" if one.computes_the_same else f"computes something else: {apart}"
    if one.agreement is None:
        return said
    return f"{said}; the same decision in {percent(one.agreement)} of {one.compared_rows:,} {row_noun}"
