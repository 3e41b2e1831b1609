"""The table that a pipeline puts at the end of its run, and where its files are."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.runner.records.logs import printable


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Prints `{"title", "lead", "columns", "rows", "warnings", "files"}`; what is missing or malformed is left out."""
    columns, rows = summary.get("columns"), summary.get("rows")
    if isinstance(columns, list) and isinstance(rows, list) and columns and rows:
        table = Table(
            title=Text(printable(str(summary.get("title", "")))), title_justify="left",
            caption=Text(printable(str(summary.get("lead", "")))), caption_justify="left",
        )  # fmt: skip
        for index, column in enumerate(columns):
            table.add_column(Text(_cell(column)), justify="left" if index == 0 else "right")
        for row in rows:
            cells = row if isinstance(row, list) else [row]
            table.add_row(*(Text(_cell(cell)) for cell in cells[: len(columns)]))
        console.print()
        console.print(table, soft_wrap=False)
    elif summary.get("title"):
        console.print(Text(printable(str(summary["title"]))))
    warnings = summary.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        console.print(Text(printable(f"warning: {warning}")))
    files = summary.get("files")
    if isinstance(files, Mapping) and files:
        width = max(len(str(name)) for name in files)
        for name, place in files.items():
            console.print(Text(printable(f"{str(name).ljust(width)}  {place}")))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value))
