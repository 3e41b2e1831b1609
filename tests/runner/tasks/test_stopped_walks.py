"""SIGTERM while a folder is walked that nobody waits for: very many entries, by as many ways as links may lead to one.

Links that make more paths than anybody can walk are refused (`test_what_a_task_left.py`, `test_sources.py`). These
stay below that limit, and make 16,000 paths of 1,000 files.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from pipelines.runner.records.state import read_tasks

RUNNER = """
import sys
from pathlib import Path

from pipelines import cli
from pipelines.runner.processes import workers
from pipelines.runner.tasks import container_task

_, mark, moment, grace, *words = sys.argv
method = getattr(container_task._ContainerTask, moment or "_launch")


def noted(*arguments):
    Path(mark).touch()
    return method(*arguments)


if moment:
    setattr(container_task._ContainerTask, moment, noted)
workers.GRACE_SECONDS = float(grace)
sys.argv[1:] = words
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
    for number in range(1_000):
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
def start(tmp_path: Path, compiled: Callable[..., Path]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a run in a process of its own, and waits for the file `begun`: made by its task, or by a method of it."""
    running: list[subprocess.Popen[str]] = []

    def begin(pipeline: Any, *words: str, moment: str = "", grace_seconds: float) -> "subprocess.Popen[str]":
        begun, path = tmp_path / "begun", compiled(pipeline)
        command = [sys.executable, "-c", RUNNER, str(begun), moment, str(grace_seconds), "run", str(path), *words]
        runner = subprocess.Popen(
            command, env={**os.environ, "TRIMTAB_HOME": str(tmp_path / "home")}, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        running.append(runner)
        until = time.monotonic() + 200
        while not begun.exists():
            assert runner.poll() is None, runner.communicate()[0]
            assert time.monotonic() < until, "the walk never began"
            time.sleep(0.02)
        return runner

    yield begin
    for runner in running:
        runner.kill()


def stop(runner: "subprocess.Popen[str]") -> tuple[str, float]:
    """What the run said, and the seconds from SIGTERM to its end."""
    asked = time.monotonic()
    runner.send_signal(signal.SIGTERM)
    out, _ = runner.communicate(timeout=200)
    assert "Traceback" not in out
    return " ".join(out.split()), time.monotonic() - asked


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("moment", "status", "said"),
    [
        ("_collect", "cancelled", "was stopped; what had finished is kept"),
        ("_write_result", "succeeded", "cannot be kept for a later run: the run was stopped"),
    ],
)
def test_sigterm_while_an_output_is_walked_or_stored_ends_the_run_within_seconds(
    start: Callable[..., Any], tmp_path: Path, moment: str, status: str, said: str
) -> None:
    @dsl.pipeline(name="maze")
    def maze():
        leaves_a_maze()

    out, seconds = stop(start(maze, moment=moment, grace_seconds=0.05))
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    assert [task.status for task in read_tasks(folder)] == [status], "nobody went on to the end of it"
    assert said in out
    assert seconds < 20


@pytest.mark.timeout(300)
def test_sigterm_while_a_data_folder_is_walked_ends_the_run_within_seconds(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    leaves_a_maze.python_func(dsl.Artifact(uri=str(tmp_path / "data")))

    @dsl.pipeline(name="maze")
    def maze(folder: str, begun: str):
        reads_a_maze(folder=folder, begun=begun)

    words = ("-p", f"folder={tmp_path / 'data'}", "-p", f"begun={tmp_path / 'begun'}")
    out, seconds = stop(start(maze, *words, grace_seconds=60))
    assert "was stopped; what had finished is kept" in out
    assert seconds < 30, "the task was killed, for it did not end by itself"
