"""`trimtab diff`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.finding import find_folder
from pipelines.runner.records.logs import printable
from pipelines.runner.records.state import RunRecord, TaskRecord, read_run, read_tasks

Row = tuple[str, str, str, str]
_ABSENT = "–"
_SHORT = 60
_DIGEST = 12


def print_difference(first: str, second: str) -> None:
    """Prints a table of the differences between two runs."""
    folders = [find_folder(run_id) for run_id in (first, second)]
    runs = [read_run(folder) for folder in folders]
    rows = [*_of_runs(*runs), *_of_tasks(*({task.task: task for task in read_tasks(folder)} for folder in folders))]
    console = Console(highlight=False)
    if not rows:
        console.print("no difference: same parameters, code, results and metrics")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("where", "what", runs[0].id, runs[1].id):
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _of_runs(one: RunRecord, other: RunRecord) -> Iterator[Row]:
    for name in ("pipeline", "status"):
        yield from _of_values("run", {name: getattr(one, name)}, {name: getattr(other, name)})
    yield from _of_values("run", one.parameters, other.parameters)
    codes = [
        {f"code of {label.removeprefix('exec-')}": digest[:_DIGEST] for label, digest in run.request["code"].items()}
        if "code" in run.request else {}
        for run in (one, other)
    ]  # fmt: skip
    yield from _of_values("run", *codes)


def _of_tasks(one: Mapping[str, TaskRecord], other: Mapping[str, TaskRecord]) -> Iterator[Row]:
    for path in dict.fromkeys([*one, *other]):
        yield from _of_values(path, _facts(one.get(path)), _facts(other.get(path)))


def _facts(task: TaskRecord | None) -> dict[str, Any]:
    """Inputs and outputs of a task by name, outputs marked with `→`; artifacts as digests, with their metrics."""
    if task is None:
        return {}
    facts: dict[str, Any] = {"status": task.status, "error": task.error or None, **task.parameters}
    facts |= {f"→ {name}": value for name, value in task.output_parameters.items()}
    for name, items in task.output_artifacts.items():
        for index, item in enumerate(items):
            label = f"→ {name}" if len(items) == 1 else f"→ {name}[{index}]"
            facts[f"{label} (content)"] = str(item.get("content", ""))[:_DIGEST]
            metadata = item.get("metadata", {})
            facts |= {f"{label}.{key}": value for key, value in metadata.items() if key != "display_name"}
    return facts


def _of_values(where: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Row]:
    for name in dict.fromkeys([*one, *other]):
        values = (one.get(name), other.get(name))
        # Compared as JSON: a NaN equals itself there, and 1 is not True.
        if json.dumps(values[0], sort_keys=True) != json.dumps(values[1], sort_keys=True):
            yield (where, printable(name), *(_cell(value) for value in values))  # type: ignore[misc]


def _cell(value: Any) -> str:
    if value is None:
        return _ABSENT
    text = value if isinstance(value, str) else json.dumps(value)
    return printable(text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}...")
