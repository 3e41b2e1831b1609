"""kill -9 at random moments: of the runner, of its workers, of the tasks. Whatever is killed, `resume` ends the run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl

from components.core.errors import UserError
from pipelines.runner.records.state import has_run, read_tasks

KILLS = 200
_MOST_SECONDS = 600


@c.component
def step(folder: str, values: list[int], failing: bool = False) -> int:
    """Notes that it ran, in one write, so that the lines of two tasks never mix."""
    import os
    import pathlib
    import time

    time.sleep(0.02)
    with pathlib.Path(folder, "ran.txt").open("a") as notes:
        notes.write(os.environ["TRIMTAB_TASK"] + "\n")
    return sum(values) + 1


@c.component
def stored(folder: str, number: int, data: dsl.Output[dsl.Dataset]):
    import os
    import pathlib

    with pathlib.Path(folder, "ran.txt").open("a") as notes:
        notes.write(os.environ["TRIMTAB_TASK"] + "\n")
    pathlib.Path(data.path).write_text("x" * number)


@c.component
def measured(folder: str, all_data: dsl.Input[list[dsl.Dataset]]) -> int:
    import os
    import pathlib

    with pathlib.Path(folder, "ran.txt").open("a") as notes:
        notes.write(os.environ["TRIMTAB_TASK"] + "\n")
    return sum(len(pathlib.Path(data.path).read_text()) for data in all_data)


@dsl.pipeline(name="inner")
def inner(folder: str, number: int) -> int:
    first = step(folder=folder, values=[number]).set_cpu_request("0.5")
    second = step(folder=folder, values=[first.output]).set_cpu_request("0.5")
    return step(folder=folder, values=[second.output, number]).set_cpu_request("0.5").output


@dsl.pipeline(name="thirty")
def thirty(folder: str) -> int:
    """30 tasks: a chain, a loop of six times three, a nested pipeline, a branch, and artifacts."""
    start = step(folder=folder, values=[1])
    with dsl.ParallelFor([1, 2, 3, 4, 5, 6]) as n:
        one = step(folder=folder, values=[n, start.output]).set_cpu_request("0.5")
        two = step(folder=folder, values=[one.output]).set_cpu_request("0.5")
        data = stored(folder=folder, number=two.output).set_cpu_request("0.5")
    gathered = measured(folder=folder, all_data=dsl.Collected(data.outputs["data"]))
    with dsl.If(gathered.output > 0):
        branch = inner(folder=folder, number=start.output)
        step(folder=folder, values=[branch.output])
    nested = inner(folder=folder, number=gathered.output)
    last = step(folder=folder, values=[nested.output])
    step(folder=folder, values=[3]).after(start)
    return step(folder=folder, values=[last.output, gathered.output]).output


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def start(path: Path, home: Path, run_id: str, notes: Path) -> "subprocess.Popen[bytes]":
    """`trimtab run`, or `trimtab resume` if the run has begun."""
    # Not whether a task has a record: a run that was killed as it went on may hold none any more, or not yet.
    words = (
        ["resume", run_id]
        if has_run(home / "runs" / run_id)
        else ["run", str(path), "-p", f"folder={notes}", "--run-id", run_id, "--no-cache"]
    )
    environment = {**os.environ, "TRIMTAB_HOME": str(home), "TRIMTAB_STORE": str(home / "store")}
    with (home / "said.txt").open("ab") as said:
        return subprocess.Popen(command(*words), env=environment, stdout=said, stderr=said)


def _records(home: Path, run_id: str) -> list[Any]:
    try:
        return read_tasks(home / "runs" / run_id)
    except UserError:
        return []


def finished(home: Path, run_id: str) -> set[str]:
    return {task.task for task in _records(home, run_id) if task.status == "succeeded"}


def lines(notes: Path) -> list[str]:
    return (notes / "ran.txt").read_text().splitlines() if (notes / "ran.txt").exists() else []


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill_something(runner: int, dice: random.Random) -> str:
    """Kills the runner, a worker or a task, as the dice say; the runner if there is nothing else yet."""
    workers = children(runner)
    tasks = [task for worker in workers for task in children(worker)]
    what = dice.choice(["runner", "worker", "task"])
    targets = {"worker": workers, "task": tasks}.get(what) or [runner]
    victim = dice.choice(targets)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return "nobody"
    return what


def outputs_of(home: Path, run_id: str) -> dict[str, Any]:
    return {
        task.task: (
            task.output_parameters,
            {n: [i["content"] for i in items] for n, items in task.output_artifacts.items()},
        )
        for task in _records(home, run_id)
    }


@pytest.mark.e2e
@pytest.mark.timeout(_MOST_SECONDS + 120)
def test_after_a_kill_at_any_moment_resume_ends_the_run_and_no_finished_task_runs_twice(
    compiled: Callable[..., Path], tmp_path: Path
) -> None:
    home, path = tmp_path / "home", compiled(thirty)
    home.mkdir()
    calm = tmp_path / "calm"
    calm.mkdir()
    before = time.monotonic()
    assert start(path, home, "calm", calm).wait(timeout=120) == 0
    whole = time.monotonic() - before
    expected = outputs_of(home, "calm")
    assert len(expected) == 30 == len(lines(calm))

    dice = random.Random(20261125)
    kills, runs = 0, 0
    hit: dict[str, int] = {}
    began = time.monotonic()
    while kills < KILLS:
        assert time.monotonic() - began < _MOST_SECONDS, f"{kills} kills in {_MOST_SECONDS} s"
        runs += 1
        run_id, notes = f"run-{runs}", tmp_path / f"notes-{runs}"
        notes.mkdir()
        done_by: list[tuple[int, set[str]]] = []
        while True:
            process = start(path, home, run_id, notes)
            # Twelve kills of one run, so that it comes to its end at last.
            if len(done_by) < 12 and kills < KILLS:
                try:
                    process.wait(timeout=dice.uniform(0.1, whole))
                except subprocess.TimeoutExpired:
                    what = kill_something(process.pid, dice)
                    hit[what] = hit.get(what, 0) + 1
                    kills += 1
            code = process.wait(timeout=120)
            done_by.append((len(lines(notes)), finished(home, run_id)))
            if code == 0:
                break
            assert code in (1, -signal.SIGKILL), (home / "said.txt").read_text()[-2000:]
            assert len(done_by) < 40
        assert outputs_of(home, run_id) == expected
        ran = lines(notes)
        for length, done in done_by:
            again = done.intersection(ran[length:])
            assert not again, f"{run_id}: finished before a kill, and run again after it: {again}"
    assert min(hit.get(what, 0) for what in ("runner", "worker", "task")) > KILLS / 10, json.dumps(hit)
    assert "Traceback" not in (home / "said.txt").read_text()
