"""Files and folders that a task leaves for the runner to read, copy and remove: never the end of the runner."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Output

from components.core.results.payload import manifest_of, payload_at
from pipelines.runner.beneath import remove
from pipelines.runner.events import TaskEnded
from pipelines.runner.tasks.artifacts import take_custom_path


def nested(folder: Path, depth: int) -> Path:
    """Makes folders inside each other, deeper than a path may be long."""
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=at)
        below = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    return folder


def test_folders_inside_each_other_without_end_are_refused_and_removed(tmp_path: Path) -> None:
    folder = nested(tmp_path / "deep", 1100)
    with pytest.raises(OSError, match="inside each other"):
        payload_at(folder)
    remove(folder)
    assert not folder.exists()


def test_a_folder_of_a_tasks_own_choice_that_leads_into_itself_is_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).symlink_to(".")
    with pytest.raises(OSError, match="in circles"):
        take_custom_path({"name": "out"}, str(folder), tmp_path / "place")
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 300 + "1" + "}" * 300, "{", "[]", "9" * 5000])
def test_a_file_that_is_called_manifest_and_is_none_is_a_file_like_others(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert manifest_of({"uri": str(tmp_path)}) is None


def test_a_pipe_that_is_called_manifest_does_not_stop_the_runner(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert manifest_of({"uri": str(tmp_path)}) is None


@dsl.component(base_image="python:3.11")
def brackets_for_a_manifest(out: Output[Artifact]):
    import pathlib

    folder = pathlib.Path(out.path)
    folder.mkdir()
    (folder / "manifest.json").write_text("[" * 100_000)


@dsl.component(base_image="python:3.11")
def no_list_of_files(out: Output[Artifact]):
    import pathlib

    folder = pathlib.Path(out.path)
    folder.mkdir()
    (folder / "manifest.json").write_text('{"files": 5}')


@dsl.component(base_image="python:3.11")
def folders_without_end(out: Output[Artifact]):
    import os
    import pathlib

    pathlib.Path(out.path).mkdir()
    os.chdir(out.path)
    for _ in range(1100):
        pathlib.Path("a").mkdir()
        os.chdir("a")


@dsl.component(base_image="python:3.11")
def links_in_circles(out: Output[Artifact]):
    import pathlib

    pathlib.Path(out.path).mkdir()
    for name in "abc":
        pathlib.Path(out.path, name).symlink_to(".")


@dsl.component(base_image="python:3.11")
def a_failure_of_brackets():
    import os
    import pathlib

    (pathlib.Path(os.environ["TMPDIR"]).parent / "failure.json").write_text("[" * 100_000)
    os._exit(1)


@dsl.component(base_image="python:3.11")
def a_failure_of_another_kind():
    import json
    import os
    import pathlib

    failure = {"kind": ["x"], "message": {"a": 1}}
    (pathlib.Path(os.environ["TMPDIR"]).parent / "failure.json").write_text(json.dumps(failure))
    os._exit(1)


@dsl.component(base_image="python:3.11")
def a_pipe_for_a_failure():
    import os
    import pathlib

    os.mkfifo(pathlib.Path(os.environ["TMPDIR"]).parent / "failure.json")
    os._exit(1)


@dsl.component(base_image="python:3.11")
def farewell():
    pass


LEFT = {
    "folders without end": (folders_without_end, "inside each other"),
    "links in circles": (links_in_circles, "in circles"),
    "a failure of brackets": (a_failure_of_brackets, "it left with exit code 1"),
    "a failure of another kind": (a_failure_of_another_kind, "it left with exit code 1"),
    "a pipe for a failure": (a_pipe_for_a_failure, "it left with exit code 1"),
}


@pytest.mark.parametrize(("leaves", "said"), LEFT.values(), ids=LEFT.keys())
def test_whatever_a_task_leaves_is_its_own_fault_and_the_exit_task_runs(
    run: Callable[..., Any], tmp_path: Path, leaves: Any, said: str
) -> None:
    @dsl.pipeline(name="leaving")
    def leaving():
        with dsl.ExitHandler(farewell()):
            leaves()

    ran = run(leaving)
    remove(tmp_path / "home")  # pytest's own way to remove it ends with the first thousand folders
    ended = {event.task.rpartition("/")[2]: event for event in ran.events if isinstance(event, TaskEnded)}
    assert ended["farewell"].status == "succeeded"
    assert said in next(event.error for name, event in ended.items() if name != "farewell" and event.error)


def test_what_is_called_manifest_and_is_none_passes_as_a_file(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="naming")
    def naming():
        brackets_for_a_manifest()
        no_list_of_files()

    assert run(naming).result.status == "succeeded"
