"""Runs a described pipeline and holds what happened against the reference interpreter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from described_pipelines import compile_description, described_path
from pipeline_descriptions import Pipeline
from reference_interpreter import Ended, Expected, Interpreter, Scope

from pipelines.runner.conduct import RunResult
from pipelines.runner.events import Event, TaskEnded, TaskStarted
from pipelines.runner.options import RunOptions
from pipelines.runner.records.state import TaskRecord
from pipelines.runner.run import run_pipeline

HELD_BACK = "another task failed"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The expected result of a run, and where the run differs; `differences` is empty if they agree.

    `held_back`: how often timing decided (see `reference_interpreter.py`).
    """

    expected: Mapping[str, Expected]
    result: RunResult
    differences: list[str]
    held_back: int


def compare(description: Pipeline, given: Mapping[str, Any], folder: Path) -> list[Comparison]:
    """Compiles one pipeline, in an empty folder of its own, and runs it twice, the second time from the cache.

    Raises:
        LostBySdk: the SDK wrote something that cannot run anywhere.
    """
    path = folder / "pipeline.yaml"
    spec = compile_description(description, path)
    return [_compare(description, given, path, spec, use_cache=use_cache) for use_cache in (False, True)]


def _compare(
    description: Pipeline, given: Mapping[str, Any], path: Path, spec: Mapping[str, Any], *, use_cache: bool
) -> Comparison:
    events: list[Event] = []
    result = run_pipeline(
        path, given, options=RunOptions(use_cache=use_cache), listener=events.append, home=path.parent / "home",
        store_uri=str(path.parent / "store"),
    )  # fmt: skip
    records = {described_path(spec, task.task): task for task in result.tasks}
    interpreter = Interpreter(lambda path: _held_back(path, records))
    ended = interpreter.pipeline(description, given, Scope(path="", given={}))
    moments = [(described_path(spec, e.task), e) for e in events if isinstance(e, TaskStarted | TaskEnded)]
    differences = [
        *_of_tasks(interpreter.expected, records),
        *_of_the_run(ended, result),
        *(f"{path} did not start, though nothing had failed before it" for path in interpreter.unexcused),
        *_of_the_order(interpreter.expected, moments),
    ]
    return Comparison(expected=interpreter.expected, result=result, differences=differences, held_back=interpreter.held)


def _held_back(path: str, records: Mapping[str, TaskRecord]) -> bool:
    if path.endswith("]"):  # an iteration leaves no record of its own
        return not any(name.startswith(f"{path}/") for name in records)
    return path in records and (records[path].status, records[path].error) == ("skipped", HELD_BACK)


def _of_tasks(expected: Mapping[str, Expected], records: Mapping[str, TaskRecord]) -> Iterable[str]:
    for path in sorted(expected.keys() | records.keys()):
        wanted, record = expected.get(path), records.get(path)
        if wanted is None or record is None:
            yield f"{path}: expected {wanted and wanted.status}, was {record and (record.status, record.error)}"
        elif wanted.status != record.status:
            yield f"{path}: expected {wanted.status}, was {record.status} ({record.error})"
        elif wanted.inputs:
            got = {name: value for name, value in record.parameters.items() if name in _INPUTS}
            if got != wanted.inputs:
                yield f"{path}: expected the inputs {wanted.inputs}, got {got}"
            if _outputs(record) != wanted.outputs:
                yield f"{path}: expected the outputs {wanted.outputs}, got {_outputs(record)}"
            if not record.cached and record.attempt != wanted.attempts:
                yield f"{path}: expected {wanted.attempts} attempts, was {record.attempt}"


_INPUTS = ("number", "word", "items", "maybe")


def _outputs(record: TaskRecord) -> dict[str, Any]:
    texts = {name: Path(items[0]["uri"]).read_text() for name, items in record.output_artifacts.items()}
    return {**record.output_parameters, **texts}


def _of_the_run(ended: Ended, result: RunResult) -> Iterable[str]:
    if ended.status != result.status:
        yield f"the run: expected {ended.status}, was {result.status}"
    got = dict(result.outputs)
    if "out" in got:
        got["out"] = Path(got["out"]).read_text()
    if got != ended.ports:
        yield f"the run: expected the outputs {dict(ended.ports)}, got {got}"


def _of_the_order(
    expected: Mapping[str, Expected], moments: list[tuple[str, TaskStarted | TaskEnded]]
) -> Iterable[str]:
    """Nothing starts before what it waits for is over, or after a task of its own DAG failed."""
    failed: dict[str, str] = {}
    started: dict[str, int] = {}
    for index, (path, moment) in enumerate(moments):
        dag = path.rpartition("/")[0]
        if path not in expected:
            continue  # said already
        if isinstance(moment, TaskStarted) and moment.attempt == 1:
            started[path] = index
            if dag in failed and not expected[path].always:
                yield f"{path} started after {failed[dag]} had failed"
        elif isinstance(moment, TaskEnded) and moment.status == "failed":
            failed.setdefault(dag, path)
    for index, (path, moment) in enumerate(moments):
        if isinstance(moment, TaskEnded):
            for follower, at in started.items():
                if at < index and _waits(expected[follower], path):
                    yield f"{follower} started before {path} was over"


def _waits(follower: Expected, path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in follower.before)
