"""Pipelines compiled by old SDKs (tests/golden/golden_pipelines.py), read and run to their ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = sorted(folder.name for folder in GOLDEN.glob("kfp-*"))


def texts(ran: Any) -> list[str]:
    """The outputs of the tasks called text, wherever they are."""
    return sorted(
        task.output_parameters["Output"]
        for task in ran.result.tasks
        if task.component == "text" and task.status == "succeeded"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_conditions_loops_commands_and_optional_inputs_of_an_old_sdk(run: Run, version: str) -> None:
    ran = run(GOLDEN / version / "control.yaml", start="2", word="hi")
    assert ran.result.status == "succeeded"
    assert ran.result.outputs == {"Output": 6}
    assert texts(ran) == ["1", "2", "hi: 4", "said: hi no more", "x", "y"]
    assert ran.outputs("optional") == {"Output": "None True default"}
    sums = {task.task: task.output_parameters["Output"] for task in ran.result.tasks if "/add" in task.task}
    assert sorted(sums.values()) == [5, 6, 11, 12]
    given = run(GOLDEN / version / "control.yaml", start="-2", limit="0.5", items="[7]")
    assert given.outputs("optional") == {"Output": "0.5 True default"}
    assert "never" in texts(given)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_nested_pipeline_of_an_old_sdk(run: Run, version: str) -> None:
    ran = run(GOLDEN / version / "nested.yaml")
    assert ran.result.outputs == {"Output": "inside"}
    assert texts(ran) == ["7"]


@pytest.mark.parametrize("version", VERSIONS)
def test_exit_handlers_of_an_old_sdk(run: Run, version: str) -> None:
    ran = run(GOLDEN / version / "handled.yaml")
    assert ran.result.status == "failed"
    assert ran.outputs("final")["Output"].startswith("FAILED fail: RuntimeError: on purpose")
    assert ran.outputs("plain") == {"Output": "over"}
    assert run(GOLDEN / version / "handled.yaml", broken="false").outputs("final") == {"Output": "COMPLETE "}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_importer_of_an_old_sdk(run: Run, version: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("bytes")
    ran = run(GOLDEN / version / "imported.yaml", uri=str(tmp_path / "a"), owner="you")
    assert ran.result.outputs == {"Output": "bytes"}
    (imported,) = next(task for task in ran.result.tasks if task.task == "importer").output_artifacts["artifact"]
    assert imported["metadata"] == {"owner": "you", "rows": 3, "tags": ["a", "you"]}
    assert type(imported["metadata"]["rows"]) is int


@pytest.mark.parametrize("version", VERSIONS)
def test_collected_outputs_and_ignored_failures_of_an_old_sdk(run: Run, version: str) -> None:
    collected = run(GOLDEN / version / "collected.yaml")
    assert collected.result.outputs == {"Output": 9}
    assert collected.outputs("join") == {"Output": "x+x+x"}
    assert run(GOLDEN / version / "ignoring.yaml").outputs("text") == {"Output": "nothing"}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("kfp-*/branches.yaml")), ids=lambda path: path.parent.name)
@pytest.mark.parametrize(("coin", "branch"), [("heads", "a"), ("tails", "b"), ("edge", "c")])
def test_branches_of_an_old_sdk(run: Run, path: Path, coin: str, branch: str) -> None:
    ran = run(path, coin=coin)
    assert ran.result.outputs == {"Output": branch}
    assert ran.outputs("read") == {"Output": f"data {branch}"}
