"""`trimtab runs` and `trimtab show`."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipelines.cli.finding import find_folder, run_folders
from pipelines.cli.progress import seconds_text
from pipelines.cli.summary import print_summary
from pipelines.runner.records.logs import printable, tail
from pipelines.runner.records.state import RunRecord, TaskRecord, is_at_work, read_run, read_tasks
from pipelines.runner.run import home_folder

_STYLES = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "yellow", "interrupted": "yellow"}


def list_runs() -> None:
    """Prints a table of the runs in the home folder, latest first."""
    console = Console(highlight=False)
    records = [(read_run(folder), folder) for folder in run_folders()]
    if not records:
        console.print(f"no runs in {home_folder() / 'runs'}")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "pipeline", "status", "started", "took"):
        # A run's id is meant to be copied, so it is never wrapped.
        table.add_column(name, no_wrap=name == "run", overflow="fold")
    for run, folder in sorted(records, key=lambda found: found[0].started, reverse=True):
        status = _status(run, folder)
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
        took = seconds_text(run.ended - run.started) if run.ended else ""
        table.add_row(Text(run.id), Text(run.pipeline), Text(status, style=_STYLES.get(status, "")), started, took)
    console.print(table)


def show_run(run_id: str, lines: int) -> None:
    """Prints one run, the latest if none is named."""
    console = Console(highlight=False, soft_wrap=True)
    folder = find_folder(run_id)
    run, tasks = read_run(folder), read_tasks(folder)
    status = _status(run, folder)
    took = f" in {seconds_text(run.ended - run.started)}" if run.ended else ""
    console.print(Text.assemble(f"{run.id}  {run.pipeline}  ", (status, _STYLES.get(status, "")), took))
    console.print(Text(f"folder {folder}\nstore  {run.store}", style="dim"))
    console.print(_tree(run, tasks, status))
    for task in tasks:
        if task.status == "failed":
            _print_failure(console, task, lines)
    if run.outputs:
        console.print("outputs")
        for name, value in run.outputs.items():
            console.print(Text(printable(f"  {name} = {_short(value)}")))
    if run.summary is not None:
        print_summary(console, run.summary)


def _status(run: RunRecord, folder: Path) -> str:
    return "interrupted" if run.status == "running" and not is_at_work(folder) else run.status


def _tree(run: RunRecord, tasks: list[TaskRecord], status: str) -> Tree:
    root = Tree(Text(run.pipeline))
    groups: dict[str, Tree] = {"": root}
    for task in tasks:
        parent = ""
        for part in task.task.split("/")[:-1]:
            path = f"{parent}/{part}" if parent else part
            if path not in groups:
                groups[path] = groups[parent].add(Text(_group_name(part, task), style="dim"))
            parent = path
        groups[parent].add(_line(task, status))
    return root


def _group_name(part: str, task: TaskRecord) -> str:
    """Name of a loop iteration with its item, if known."""
    name = task.iteration.get("name") if part.startswith("[") and task.iteration else None
    return printable(f"{part} {name}") if isinstance(name, str) else part


def _line(task: TaskRecord, run_status: str) -> Text:
    name = task.label.split(" [", 1)[0] or task.task.rpartition("/")[2]
    status = "interrupted" if task.status == "running" and run_status == "interrupted" else task.status
    text = Text.assemble(f"{name}  ", (status, _STYLES.get(status, "dim")))
    if task.cached:
        text.append("  from cache", style="dim")
    elif task.seconds > 0:
        text.append(f"  {seconds_text(task.seconds)}", style="dim")
    if task.attempt > 1:
        text.append(f"  attempt {task.attempt}", style="yellow")
    if task.error:
        text.append(f"  {task.error}", style="red" if task.status == "failed" else "dim")
    return text


def _print_failure(console: Console, task: TaskRecord, lines: int) -> None:
    console.print(Text(f"{task.task} failed: {task.error}", style="red"))
    if task.log:
        console.print(Text(f"log {task.log}", style="dim"))
        for line in tail(Path(task.log), lines) if lines else ():
            console.print(Text(f"  | {line}"))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."
