"""Compiling small pipelines with the real SDK, and running them in a temporary home."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from pipelines.runner.conduct import RunResult
from pipelines.runner.events import Event, TaskEnded, TaskStarted, Warned
from pipelines.runner.options import RunOptions
from pipelines.runner.run import run_pipeline

# pytest's importlib mode puts no test folder on the path; components_for_tests.py is shared by several files here.
sys.path.insert(0, str(Path(__file__).parent))


@dataclass
class Ran:
    """A finished run and everything that was heard of it."""

    result: RunResult
    events: list[Event] = field(default_factory=list)

    def ended(self, task: str) -> TaskEnded:
        return next(event for event in self.events if isinstance(event, TaskEnded) and event.task == task)

    def order(self) -> list[tuple[str, str]]:
        """("started" | status, task) in the order of events."""
        found = []
        for event in self.events:
            if isinstance(event, TaskStarted):
                found.append(("started", event.task))
            elif isinstance(event, TaskEnded):
                found.append((event.status, event.task))
        return found

    def statuses(self) -> dict[str, str]:
        return {event.task: event.status for event in self.events if isinstance(event, TaskEnded)}

    def outputs(self, task: str) -> dict[str, Any]:
        return next(item for item in self.result.tasks if item.task == task).output_parameters

    def cached(self) -> set[str]:
        return {event.task for event in self.events if isinstance(event, TaskEnded) and event.cached}

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    """Compiles a pipeline function to a YAML file in the test's folder."""

    def compile_pipeline(pipeline: Any, name: str = "pipeline.yaml") -> Path:
        path = tmp_path / name
        compiler.Compiler().compile(pipeline, str(path))
        return path

    return compile_pipeline


@pytest.fixture
def run(tmp_path: Path, compiled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a pipeline function, or a YAML file, in the test's own home and store."""
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)

    def run_one(
        pipeline: Any, *, use_cache: bool = True, secrets: Mapping[str, Path] | None = None, **parameters: Any
    ) -> Ran:
        path = pipeline if isinstance(pipeline, Path) else compiled(pipeline)
        events: list[Event] = []
        options = RunOptions(use_cache=use_cache, secrets=secrets or {})
        result = run_pipeline(path, parameters, options=options, listener=events.append, home=tmp_path / "home")
        return Ran(result=result, events=events)

    return run_one
