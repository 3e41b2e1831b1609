"""Text from others stands on a terminal as text: no escape moves its cursor, no line break forges a line."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from components.core.errors import UserError
from components.core.store import open_store
from pipelines import cli
from pipelines.cli.diff_command import _cell
from pipelines.cli.lineage_command import _line
from pipelines.cli.summary import print_summary
from pipelines.lineage.links import Link

EVIL = "\x1b]0;title\x07\x1b[2K\x1b[1A\rall is well\nrun succeeded\x9b31m\u202e"


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_a_summary_shows_class_names_and_reasons_as_text() -> None:
    file = io.StringIO()
    rows = [["class", EVIL], [EVIL, 1.0]]
    summary = {
        "title": EVIL, "lead": EVIL, "columns": ["name", EVIL], "rows": rows, "warnings": [EVIL], "files": {EVIL: EVIL},
    }  # fmt: skip
    print_summary(Console(file=file, width=400), summary)
    print_summary(Console(file=file, width=400), {"title": EVIL})
    assert is_plain(file.getvalue())
    assert "\nrun succeeded" not in file.getvalue()
    assert file.getvalue().count("all is well") >= 8


def test_an_error_is_one_plain_line_whatever_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError(f"t.csv has no label column; columns: {EVIL}")

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert is_plain(said)
    assert said.count("\n") == 1
    assert "all is well" in said


def test_a_champions_history_is_shown_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.releases.publish("m", "1", {"model.onnx": b"x"})
    store.champions.promote("m", "1", who=EVIL, why=EVIL)
    monkeypatch.setattr("sys.argv", ["trimtab", "champion", "--store", str(tmp_path / "store")])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    assert is_plain(said)
    assert said.count("\n") == 2


def test_lineage_and_differences_show_metadata_as_text() -> None:
    link = Link(title=EVIL, kind="model", digest="0" * 64, made_by=EVIL, facts={EVIL: EVIL}, problems=[EVIL])
    assert is_plain(_line(link).plain)
    assert _cell(EVIL).isprintable()
