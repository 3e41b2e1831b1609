"""The summary that the command line prints at the end of a run."""

import io

from rich.console import Console

from pipelines.cli.summary import print_summary

SUMMARY = {"title": "2× faster", "lead": "", "columns": ["", "release"], "rows": [["latency", "1 ms"]], "files": {}}


def printed(summary):
    out = io.StringIO()
    print_summary(Console(file=out, width=120), summary)
    return out.getvalue()


def test_warnings_stand_below_the_table():
    said = printed({**SUMMARY, "warnings": ["Latency at batch 1: the machine was busy."]})
    assert said.index("1 ms") < said.index("warning: Latency at batch 1: the machine was busy.")


def test_nothing_is_said_where_nothing_was_wrong():
    assert "warning" not in printed({**SUMMARY, "warnings": []})
    assert "warning" not in printed(SUMMARY)
