import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.runner.records.state import RunRecord, RunState, TaskRecord, read_run, read_tasks


def make_run(**changes: object) -> RunRecord:
    values = {
        "id": "r",
        "pipeline": "p",
        "status": "running",
        "started": 1.0,
        "store": "s",
        "parameters": {"a": 1},
        "pid": 1,
    }
    return RunRecord(**{**values, **changes})


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    state.save_run(make_run())
    state.save_run(make_run(status="succeeded", outputs={"x": [1, None]}, summary={"title": "t"}, ended=2.0))
    task = TaskRecord(
        task="a/[0]/b", label="b [1]", component="c", status="running", started=5.0, iteration={"n": 1},
        output_artifacts={"m": [{"uri": "u", "metadata": {}}]},
    )  # fmt: skip
    state.save_task(task)
    task.status = "succeeded"
    state.save_task(task)
    state.save_task(TaskRecord(task="first", label="f", component="c", started=1.0))
    assert read_run(tmp_path) == make_run(
        status="succeeded", outputs={"x": [1, None]}, summary={"title": "t"}, ended=2.0
    )
    assert [item.task for item in read_tasks(tmp_path)] == ["first", "a/[0]/b"]
    assert read_tasks(tmp_path)[1] == task
    state.close()


def test_a_reader_sees_a_run_that_is_still_written(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    state.save_run(make_run())
    assert read_run(tmp_path).status == "running"
    state.close()


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from pipelines.runner.records.state import RunState, TaskRecord
        state = RunState(Path({str(tmp_path)!r}))
        for i in range(20):
            state.save_task(TaskRecord(task=str(i), label="", component="c", status="succeeded", started=i))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", script], check=False, env=os.environ)
    assert [item.task for item in read_tasks(tmp_path)] == [str(i) for i in range(20)]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        read_run(tmp_path)


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="cannot be read"):
        read_run(tmp_path)
