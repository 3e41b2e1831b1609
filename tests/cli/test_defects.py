"""A defect of trimtab is not called the user's mistake: exit code 1, and where to report it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import REPORT_TO
from components.core.store import StoreUnavailable
from pipelines.cli import show_command
from pipelines.runner.processes import child

Trimtab = Callable[..., Any]


def broken(*_: object) -> None:
    raise KeyError("gone")


def test_a_defect_of_a_command_is_code_1_and_says_where_to_report_it(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_command, "list_runs", broken)
    said = trimtab("runs")
    assert said.code == 1
    assert said.err.startswith("Traceback")
    assert "not your mistake" in said.err.splitlines()[-1]
    assert said.err.splitlines()[-1].endswith(REPORT_TO)


def test_a_defect_of_a_stage_is_code_1_and_says_where_to_report_it(
    trimtab: Trimtab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(
        "from components.core.store import names\n"
        "def broken(*_, **__):\n    raise KeyError('gone')\n"
        "names.check_name = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hidden'}:{Path(child.__file__).parents[3]}")
    said = trimtab("run", "optimize")
    assert said.code == 1
    first, last = said.err.splitlines()
    assert first.startswith("error: preflight: KeyError: 'gone'; log: ")
    assert last.endswith(REPORT_TO)


@pytest.mark.parametrize(
    ("error", "module", "kind"),
    [
        (KeyError("a"), "components.prune.component", "defect"),
        (KeyError("a"), "someones.component", "error"),
        (KeyError("a"), None, "error"),
        (StoreUnavailable("no answer"), "components.prune.component", "error"),
        (OSError("no space left on device"), "components.prune.component", "error"),
        (KeyboardInterrupt(), "components.prune.component", "error"),
    ],
)
def test_whose_fault_a_failure_is(error: BaseException, module: str | None, kind: str) -> None:
    assert child._kind_of(error, {"module": module}) == kind
