"""`trimtab run` and `trimtab resume`."""

import json
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from components.core.errors import REPORT_TO, UserError
from pipelines.cli.catalog import find_boxed
from pipelines.cli.finding import find_folder
from pipelines.cli.progress import make_progress
from pipelines.cli.summary import print_summary
from pipelines.runner.conduct import RunResult
from pipelines.runner.events import Listener
from pipelines.runner.options import RunOptions
from pipelines.runner.records.logs import tail
from pipelines.runner.resume import resume_run
from pipelines.runner.run import home_folder, run_pipeline

SUCCEEDED, FAILED, MISTAKE = 0, 1, 2
_TAIL_LINES = 20


def run_command(
    pipeline: str,
    parameters: Sequence[str],
    *,
    store: str,
    run_id: str,
    json_file: Path | None,
    options: RunOptions,
) -> int:
    """Runs a pipeline, prints its progress and result, and returns the exit code."""

    def start(listener: Listener) -> RunResult:
        path, given = find_boxed(pipeline, given_parameters(parameters))
        return run_pipeline(
            path, _arguments(path, given), store_uri=store, run_id=run_id, options=options,
            listener=listener,
        )  # fmt: skip

    return _carry_out(start, run_id, json_file)


def resume_command(run_id: str, *, from_task: str, json_file: Path | None) -> int:
    """Resumes a run, prints its progress and result, and returns the exit code."""
    run_id = find_folder(run_id).name
    return _carry_out(lambda listener: resume_run(run_id, from_task=from_task, listener=listener), run_id, json_file)


def _carry_out(start: Callable[[Listener], RunResult], run_id: str, json_file: Path | None) -> int:
    if json_file is not None:
        _check_json_place(json_file)
    console = Console(highlight=False, soft_wrap=True)
    try:
        with make_progress(console) as listener:
            result = start(listener)
    except UserError as error:
        _write_json(json_file, {"run_id": run_id, "status": "failed", "tasks": [], "outputs": {}, "error": str(error)})
        raise
    except (OSError, sqlite3.Error) as error:
        # A full disk or a removed folder: a traceback would not help.
        place = f" (in {home_folder()})" if isinstance(error, sqlite3.Error) else ""
        message = f"the run cannot continue: {error}{place}; what had finished is kept: trimtab runs, trimtab resume"
        _write_json(json_file, {"run_id": run_id, "status": "failed", "tasks": [], "outputs": {}, "error": message})
        print(f"error: {message}", file=sys.stderr)
        return FAILED
    if result.summary is not None:
        print_summary(console, result.summary)
    _write_json(json_file, _as_json(result))
    return _report_end(console, result)


def _arguments(path: Path, given: dict[str, str]) -> Mapping[str, Any]:
    """The pipeline's inputs: checked against the form for our own pipelines, unchanged for others."""
    if not given or not path.is_file():
        return given
    from pipelines.form_arguments import form_arguments, form_of, name_and_inputs
    from pipelines.runner.reading.documents import read_documents
    from pipelines.runner.reading.jobs import unwrap

    documents = unwrap(read_documents(path)[1], str(path)).documents
    spec = documents[0] if documents and isinstance(documents[0], dict) else {}
    form = form_of(*name_and_inputs(spec))
    return form_arguments(form, given) if form else given


def given_parameters(parameters: Sequence[str], *, option: str = "-p") -> dict[str, str]:
    """Parse repeated `-p name=value` options into name → text.

    Raises:
        UserError: not of the form name=value, or a name is given twice.
    """
    given: dict[str, str] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"{option} {text!r} is not of the form name=value")
        if name.strip() in given:
            raise UserError(f"the parameter {name.strip()!r} is given twice")
        given[name.strip()] = value
    return given


def secrets_from(options: Sequence[str]) -> dict[str, Path]:
    """Parse `--secret name=path`: the file or folder that stands for each secret or config map."""
    given: dict[str, Path] = {}
    for text in options:
        name, equals, path = text.partition("=")
        if not equals or not name.strip() or not path.strip():
            # The value is not shown: it may be the secret itself.
            raise UserError("--secret must be of the form name=path, where path is a file or a folder")
        if name.strip() in given:
            raise UserError(f"--secret {name.strip()} is given twice")
        given[name.strip()] = Path(path.strip()).expanduser()
    return given


def _report_end(console: Console, result: RunResult) -> int:
    if result.status == "succeeded":
        console.print(f"run {result.run_id} succeeded; see: trimtab show {result.run_id}")
        return SUCCEEDED
    if result.status == "cancelled":
        print(
            f"error: run {result.run_id} was stopped; what had finished is kept: trimtab resume {result.run_id}",
            file=sys.stderr,
        )
        return FAILED
    failed = next((task for task in result.tasks if task.status == "failed"), None)
    if result.failure == "user" and failed is not None:
        print(f"error: {failed.error}", file=sys.stderr)
        return MISTAKE
    place = ""
    if failed is not None and failed.log:
        for line in tail(Path(failed.log), _TAIL_LINES):
            console.print(f"  | {line}", markup=False)
        place = f"; log: {failed.log}"
    print(f"error: {result.error}{place}; to continue: trimtab resume {result.run_id}", file=sys.stderr)
    if result.failure == "defect":
        print(
            f"This is a defect of trimtab, not your mistake. Please report it with that log: {REPORT_TO}",
            file=sys.stderr,
        )
    return FAILED


def _as_json(result: RunResult) -> dict[str, Any]:
    summary = result.summary or {}
    found: dict[str, Any] = {
        "run_id": result.run_id,
        "status": "succeeded" if result.status == "succeeded" else "failed",
        "tasks": [
            {"name": task.task, "status": task.status, "seconds": round(task.seconds, 3), "cached": task.cached}
            for task in result.tasks
        ],
        "outputs": {**result.outputs, **_mapping(summary.get("outputs")), **_mapping(summary.get("files"))},
    }
    if result.status != "succeeded":
        found["error"] = result.error or "the run was stopped"
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_json_place(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UserError(f"--json {path}: that file cannot be written (its folder must exist and be writable)")


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Atomic: a reader sees either the new file or the old one."""
    if path is None:
        return
    text = json.dumps(content, indent=2) + "\n"
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.absolute().parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        print(f"warning: {path} could not be written: {error.strerror}", file=sys.stderr)
