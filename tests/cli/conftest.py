"""The command line inside the test's process, with a home of its own."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from kfp import compiler, dsl

from pipelines.cli import main


@dataclass
class Said:
    """A command's exit code and output."""

    code: int
    out: str
    err: str


@pytest.fixture
def trimtab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    monkeypatch.delenv("TRIMTAB_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["trimtab", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Said(code=int(left.value.code or 0), out=captured.out, err=captured.err)

    return call


@dsl.component(base_image="python:3.11")
def work(n: int, mode: str) -> int:
    from components.core.errors import UserError

    print("working hard")
    if mode == "mistake":
        raise UserError("the budget of 0 ms cannot be met; give at least 1")
    if mode == "crash":
        raise RuntimeError("it broke")
    return n + 1


@dsl.component(base_image="python:3.11")
def report(status: dsl.PipelineTaskFinalStatus) -> dict:
    return {
        "title": f"The run {status.state}",
        "lead": "One point below the baseline.",
        "columns": ["what", "baseline", "release"],
        "rows": [["top-1", 0.91234, 0.9], ["note", None, "x"]],
        "files": {"report": "/runs/report.html"},
        "outputs": {"meets_budget": True},
    }


@dsl.pipeline(name="little")
def little(n: int, mode: str = "well") -> int:
    with dsl.ExitHandler(report()):
        work(n=n, mode=mode)
    # KFP lets no output out of an exit handler.
    return work(n=n, mode="well").output


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    path = tmp_path / "little.yaml"
    compiler.Compiler().compile(little, str(path))
    return str(path)
