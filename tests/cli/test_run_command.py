import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Trimtab = Callable[..., Any]


def test_a_run_prints_its_tasks_the_table_and_the_files(trimtab: Trimtab, pipeline: str) -> None:
    said = trimtab("run", pipeline, "-p", "n=1")
    assert said.code == 0
    assert said.err == ""
    for part in (
        "work: started",
        "work: succeeded",
        "The run COMPLETE",
        "0.9123",
        "–",
        "/runs/report.html",
        "One point",
    ):
        assert part in said.out


def test_json_holds_status_tasks_and_outputs(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    assert trimtab("run", pipeline, "-p", "n=1", "--json", "out.json", "--run-id", "mine").code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["run_id"] == "mine"
    assert found["status"] == "succeeded"
    assert found["outputs"] == {"Output": 2, "meets_budget": True, "report": "/runs/report.html"}
    assert {task["name"]: (task["status"], task["cached"]) for task in found["tasks"]} == {
        "exit-handler-1/work": ("succeeded", False), "work-2": ("succeeded", False),
        "report": ("succeeded", False),
    }  # fmt: skip
    assert all(task["seconds"] >= 0 for task in found["tasks"])
    assert set(found["tasks"][0]) == {"name", "status", "seconds", "cached"}
    assert "error" not in found


def test_a_second_run_comes_from_the_cache(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    trimtab("run", pipeline, "-p", "n=1")
    said = trimtab("run", pipeline, "-p", "n=1", "--json", "out.json")
    assert "work: from cache" in said.out
    assert json.loads((tmp_path / "out.json").read_text())["outputs"]["Output"] == 2
    assert "work: from cache" not in trimtab("run", pipeline, "-p", "n=1", "--no-cache").out


def test_a_users_mistake_inside_a_task_is_one_line_and_code_2(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    said = trimtab("run", pipeline, "-p", "n=1", "-p", "mode=mistake", "--json", "out.json")
    assert said.code == 2
    assert said.err == "error: the budget of 0 ms cannot be met; give at least 1\n"
    assert "Traceback" not in said.out
    assert "The run FAILED" in said.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["status"] == "failed"
    assert "budget of 0 ms" in found["error"]
    assert found["outputs"]["report"] == "/runs/report.html"


def test_a_crash_inside_a_task_is_code_1_and_shows_the_end_of_its_log(trimtab: Trimtab, pipeline: str) -> None:
    said = trimtab("run", pipeline, "-p", "n=1", "-p", "mode=crash")
    assert said.code == 1
    assert said.err.startswith("error: work: RuntimeError: it broke; log: ")
    assert len(said.err.splitlines()) == 1
    assert "  | working hard" in said.out
    assert "  | RuntimeError: it broke" in said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "n=1", "-p", "mod=x"], "unknown parameter 'mod'; did you mean 'mode'?"),
        ([], "missing parameter(s): n (an integer)"),
        (["-p", "n=one"], "an integer"),
        (["-p", "n"], "name=value"),
        (["-p", "n=1", "-p", "n=2"], "twice"),
        (["-p", "n=1", "--store", "ftp://x/y"], "ftp"),
        (["-p", "n=1", "--store", "/proc/nowhere"], "/proc/nowhere"),
        (["-p", "n=1", "--allow", "network"], "leave them out: a process already has your permissions"),
        (["-p", "n=1", "--run-id", "a/b"], "a/b"),
        (["-p", "n=1", "--frobnicate"], "--frobnicate"),
        (["-p", "n=1", "--json", "/no/such/folder/x.json"], "/no/such/folder/x.json"),
    ],
)
def test_mistakes_are_one_line_and_code_2_and_start_nothing(
    trimtab: Trimtab, pipeline: str, tmp_path: Path, arguments: list[str], said: str
) -> None:
    found = trimtab("run", pipeline, *arguments)
    assert found.code == 2
    assert found.err.startswith("error: ")
    assert len(found.err.splitlines()) == 1
    assert said in found.err
    assert not (tmp_path / "trimtab-out" / "runs").exists()


def test_a_mistake_is_in_the_json_as_well(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    trimtab("run", pipeline, "--json", "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["status"], found["tasks"], found["outputs"]) == ("failed", [], {})
    assert "missing parameter" in found["error"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no-such-name", None, "unknown pipeline 'no-such-name'"),
        ("x.yaml", None, "x.yaml"),
        ("x.yaml", "a: 1", "compiled"),
    ],
)
def test_what_is_no_pipeline_is_refused(
    trimtab: Trimtab, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    found = trimtab("run", name)
    assert found.code == 2
    assert said in found.err


def test_home_and_store_follow_the_environment(
    trimtab: Trimtab, pipeline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "elsewhere"))
    assert trimtab("run", pipeline, "-p", "n=1", "--run-id", "r").code == 0
    assert (tmp_path / "home/runs/r/state.sqlite").is_file()
    assert (tmp_path / "elsewhere/journal/r").is_dir()
    assert not (tmp_path / "trimtab-out").exists()


def test_the_console_script_leaves_with_the_same_codes_and_no_traceback(pipeline: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TRIMTAB_HOME": str(tmp_path / "home")}
    found = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", pipeline, "-p", "n=x"],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr == "error: parameter 'n' must be an integer, got 'x'\n"


SLEEPER = """
from kfp import compiler, dsl

@dsl.component(base_image="python:3.11")
def sleeper(folder: str):
    import os, pathlib, time
    pathlib.Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(600)

@dsl.pipeline(name="sleepy")
def sleepy(folder: str):
    sleeper(folder=folder)

compiler.Compiler().compile(sleepy, "sleepy.yaml")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_task_outlives_the_runner(tmp_path: Path, number: int) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    subprocess.run([sys.executable, "sleeper.py"], check=True, cwd=tmp_path, capture_output=True)
    runner = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", "sleepy.yaml", "-p", f"folder={tmp_path}", "--run-id", "r"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TRIMTAB_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    pid = int(wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
    runner.send_signal(number)
    _, err = runner.communicate(timeout=60)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    if number == signal.SIGINT:
        assert runner.returncode == 1
        assert err.startswith("error: run r was stopped")
        assert len(err.splitlines()) == 1


def wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")
