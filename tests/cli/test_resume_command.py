"""`trimtab resume`, `logs` and `diff`, as a person types them; and what Ctrl-C leaves."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import compiler, dsl

from pipelines.runner.processes.workers import GRACE_SECONDS

Trimtab = Callable[..., "object"]


@dsl.component(base_image="python:3.11")
def wait_for(path: str) -> str:
    import pathlib
    import signal
    import sys
    import time

    def saved(number: int, frame: object) -> None:
        pathlib.Path(path + ".saved").write_text("half of it")
        sys.exit(1)

    stubborn = pathlib.Path(path + ".stubborn").exists()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else saved)
    print("waiting for the file")
    pathlib.Path(path + ".begun").touch()
    until = time.monotonic() + 60
    while not pathlib.Path(path).exists() and time.monotonic() < until:
        time.sleep(0.02)
    return pathlib.Path(path).read_text()


@dsl.component(base_image="python:3.11")
def measure(n: int, metrics: dsl.Output[dsl.Metrics]) -> int:
    print("measured", n)
    metrics.log_metric("top1", 0.5 + n / 100)
    return n * n


@dsl.pipeline(name="patient")
def patient(path: str, n: int = 1) -> str:
    first = measure(n=n)
    return wait_for(path=path).after(first).output


@pytest.fixture
def patient_yaml(tmp_path: Path) -> str:
    compiler.Compiler().compile(patient, str(tmp_path / "patient.yaml"))
    return "patient.yaml"


def begin(folder: Path) -> "subprocess.Popen[str]":
    """Starts the run "r" and waits until its second task is waiting for the file."""
    words = ["run", "patient.yaml", "--run-id", "r", "-p", f"path={folder / 'file'}"]
    runner = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (folder / "file.begun").exists():
        assert time.monotonic() < until, "the second task never began"
        time.sleep(0.02)
    return runner


@pytest.mark.usefixtures("patient_yaml")
def test_ctrl_c_lets_the_tasks_save_and_prints_the_command_that_goes_on(trimtab: Trimtab, tmp_path: Path) -> None:
    runner = begin(tmp_path)
    runner.send_signal(signal.SIGINT)
    out, err = runner.communicate(timeout=60)
    assert runner.returncode == 1
    assert "press Ctrl-C again" in out
    assert err == "error: run r was stopped; what had finished is kept: trimtab resume r\n"
    assert (tmp_path / "file.saved").read_text() == "half of it"
    assert "cancelled" in trimtab("runs").out

    (tmp_path / "file").write_text("arrived")
    said = trimtab("resume", "r", "--json", "result.json")
    assert said.code == 0
    assert "measure: kept" in said.out
    assert json.loads((tmp_path / "result.json").read_text())["outputs"] == {"Output": "arrived"}
    assert trimtab("resume", "r").code == 0


@pytest.mark.usefixtures("patient_yaml")
def test_a_second_ctrl_c_does_not_wait_for_a_task_that_does_not_stop(tmp_path: Path) -> None:
    (tmp_path / "file.stubborn").touch()
    runner = begin(tmp_path)
    began = time.monotonic()
    runner.send_signal(signal.SIGINT)
    time.sleep(0.3)
    runner.send_signal(signal.SIGINT)
    _, err = runner.communicate(timeout=60)
    assert time.monotonic() - began < GRACE_SECONDS
    assert "trimtab resume r" in err
    assert not (tmp_path / "file.saved").exists()


def test_logs_prints_one_tasks_log_whole(trimtab: Trimtab, patient_yaml: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there")
    trimtab("run", patient_yaml, "-p", f"path={tmp_path / 'file'}", "--run-id", "r")
    assert "measured 1" in trimtab("logs", "r", "measure").out
    assert "waiting for the file" in trimtab("logs", "r", "wait-for").out
    said = trimtab("logs", "r", "mesure")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "no task 'mesure' in this run; give one of these paths: measure, wait-for" in said.err
    trimtab("run", patient_yaml, "-p", f"path={tmp_path / 'file'}", "--run-id", "cached")
    assert "it came from the cache" in trimtab("logs", "cached", "measure").err


def test_diff_shows_parameters_digests_and_metrics_and_nothing_that_is_equal(
    trimtab: Trimtab, patient_yaml: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("there")
    for run_id, n in (("one", 1), ("same", 1), ("two", 2)):
        trimtab("run", patient_yaml, "-p", f"path={tmp_path / 'file'}", "-p", f"n={n}", "--run-id", run_id)
    assert "no difference" in trimtab("diff", "one", "same").out
    rows = [line.split() for line in trimtab("diff", "one", "two").out.splitlines()]
    assert ["run", "n", "1", "2"] in rows
    assert ["measure", "→", "Output", "1", "4"] in rows
    assert ["measure", "→", "metrics.top1", "0.51", "0.52"] in rows
    assert any(row[:4] == ["measure", "→", "metrics", "(content)"] for row in rows)
    assert not any("wait-for" in row for row in rows)
    assert "did you mean 'same'" in trimtab("diff", "one", "sam").err
