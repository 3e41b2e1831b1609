"""SIGTERM while a folder is walked that nobody waits for: very many entries, by as many ways as links may lead to one.

Links that make more paths than anybody can walk are refused (`test_what_a_task_left.py`, `test_sources.py`). These
stay below that limit, and make 320,000 paths of 20,000 files.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines.runner.processes.workers import GRACE_SECONDS

RUNNER = """
import sys
from pathlib import Path

from pipelines import cli
from pipelines.runner.processes import workers
from pipelines.runner.tasks import outputs

walk = outputs.payload_of


def noted(*arguments):
    Path(sys.argv[1]).touch()
    return walk(*arguments)


outputs.payload_of = noted
workers.GRACE_SECONDS = float(sys.argv[2])
sys.argv[1:] = sys.argv[3:]
cli.main()
"""


@dsl.component(base_image="python:3.11")
def leaves_a_maze(out: dsl.Output[dsl.Artifact]):
    import os
    import pathlib

    at = pathlib.Path(out.path)
    for _ in range(4):  # two ways from each folder to the next: 16 to the last
        (at / "next").mkdir(parents=True)
        (at / "too").symlink_to("next")
        at = at / "next"
    for number in range(20_000):
        os.close(os.open(at / str(number), os.O_CREAT | os.O_WRONLY))


@dsl.component(base_image="python:3.11")
def reads_a_maze(folder: str, begun: str):
    import pathlib

    from components.core.data.ingestion.locations import open_location

    pathlib.Path(begun).touch()
    while True:
        for _ in open_location(folder).walk():
            pass


@pytest.fixture
def start(tmp_path: Path, compiled: Callable[..., Path]) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a run of a pipeline in a process of its own, and waits for the file `begun`."""

    def begin(pipeline: Any, grace_seconds: float, *words: str) -> "subprocess.Popen[str]":
        begun = tmp_path / "begun"
        command = [sys.executable, "-c", RUNNER, str(begun), str(grace_seconds), "run", str(compiled(pipeline)), *words]
        runner = subprocess.Popen(
            command, env={**os.environ, "TRIMTAB_HOME": str(tmp_path / "home")}, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        until = time.monotonic() + 120
        while not begun.exists():
            assert runner.poll() is None, runner.communicate()[0]
            assert time.monotonic() < until, "the walk never began"
            time.sleep(0.02)
        return runner

    return begin


def stopped_after(runner: "subprocess.Popen[str]") -> float:
    """Seconds from SIGTERM to the end of the run, which says that it was stopped."""
    asked = time.monotonic()
    runner.send_signal(signal.SIGTERM)
    out, _ = runner.communicate(timeout=200)
    assert runner.returncode == 1, out
    assert "was stopped; what had finished is kept" in out
    return time.monotonic() - asked


@pytest.mark.timeout(300)
def test_sigterm_during_the_walk_of_an_output_ends_the_run_within_seconds(start: Callable[..., Any]) -> None:
    @dsl.pipeline(name="maze")
    def maze():
        leaves_a_maze()

    assert stopped_after(start(maze, 0.5)) < 4


@pytest.mark.timeout(300)
def test_sigterm_during_the_walk_of_a_data_folder_ends_the_run_within_seconds(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    leaves_a_maze.python_func(dsl.Artifact(uri=str(tmp_path / "data")))

    @dsl.pipeline(name="maze")
    def maze(folder: str, begun: str):
        reads_a_maze(folder=folder, begun=begun)

    runner = start(maze, GRACE_SECONDS, "-p", f"folder={tmp_path / 'data'}", "-p", f"begun={tmp_path / 'begun'}")
    assert stopped_after(runner) < GRACE_SECONDS / 2
