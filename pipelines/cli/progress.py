"""Progress of a running pipeline: a live view on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipelines.runner.events import Event, Listener, RunEnded, RunStarted, TaskEnded, TaskRetried, TaskStarted, Warned
from pipelines.runner.records.logs import tail

_MARKS = {"succeeded": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("–", "dim"), "cancelled": ("■", "yellow")}


@contextmanager
def make_progress(console: Console) -> Iterator[Listener]:
    """Context manager: a listener that prints events to the console."""
    if not console.is_terminal:
        yield PlainProgress(console).hear
        return
    progress = LiveProgress(console)
    with Live(console=console, get_renderable=progress.render, refresh_per_second=4, transient=True):
        yield progress.hear


def seconds_text(seconds: float) -> str:
    """`0.42 s`, `7.1 s`, `3 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


class PlainProgress:
    """Prints one line per event."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    def hear(self, event: Event) -> None:
        """Prints the event's line, if any."""
        line = line_of(event)
        if line:
            passed = time.monotonic() - self.began
            self.console.print(Text(f"[{passed:7.1f} s] {line}"))


def line_of(event: Event) -> str:
    """Format an event as one line; "" for events that are not printed."""
    match event:
        case RunStarted():
            return f"run {event.run_id} ({event.pipeline}), store {event.store}"
        case TaskStarted(attempt=1):
            return f"{event.label}: started"
        case TaskStarted():
            return f"{event.label}: started again (attempt {event.attempt})"
        case TaskEnded():
            return f"{event.label}: {_ending(event)}"
        case TaskRetried():
            wait = f"in {event.wait_seconds:g} s" if event.wait_seconds else "at once"
            return f"{event.label}: attempt {event.attempt} failed, trying again {wait}: {event.error}"
        case Warned():
            return f"warning: {event.message}"
        case RunEnded():
            return f"run {event.status}"
    return ""


def _ending(event: TaskEnded) -> str:
    if event.kept:
        return "kept: it had succeeded before"
    if event.cached:
        return f"from cache (took {seconds_text(event.saved_seconds)} then)"
    if event.status == "skipped":
        return f"skipped, {event.error}"
    text = f"{event.status} in {seconds_text(event.seconds)}"
    return f"{text}: {event.error}" if event.error else text


class LiveProgress:
    """Finished tasks scroll up as lines; running tasks stay below, each with the last line of its log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.running: dict[str, tuple[TaskStarted, float, Spinner]] = {}
        self.began = time.monotonic()
        self.done = 0

    def hear(self, event: Event) -> None:
        """Prints finished tasks and keeps track of running ones."""
        match event:
            case TaskStarted():
                self.running[event.task] = (event, time.monotonic(), Spinner("dots"))
            case TaskEnded():
                self.running.pop(event.task, None)
                self.done += 1
                mark, style = _MARKS.get(event.status, ("?", ""))
                text = Text.assemble((mark, style), f" {event.label}  ", (_ending(event), "dim"))
                self.console.print(text, soft_wrap=False, overflow="fold")
            case Warned():
                self.console.print(Text.assemble(("! ", "yellow"), event.message))
            case RunEnded():
                self.running.clear()
            case _:
                self.console.print(Text(line_of(event), style="bold" if isinstance(event, RunStarted) else "dim"))

    def render(self) -> RenderableType:
        """The running tasks. Called from rich's refresh thread."""
        now = time.monotonic()
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, justify="right")
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for event, since, spinner in list(self.running.values()):
            last = tail(Path(event.log), 1)
            said = Text(last[-1].strip() if last else "", style="dim")
            grid.add_row(spinner, Text(event.label), Text(seconds_text(now - since), style="cyan"), said)
        passed = seconds_text(now - self.began)
        return Group(grid, Text(f"{self.done} tasks done, {len(self.running)} running, {passed}", style="dim"))
