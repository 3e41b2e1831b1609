"""`trimtab report`: one page over all runs and releases of a store, and each run's own report beside it."""

import os
from pathlib import Path

from components.core.errors import UserError
from components.core.store import Store
from components.run_report.report import render_report
from pipelines.cli.opening import existing_store
from pipelines.overview.contents import read_contents
from pipelines.overview.page import overview_page


def write_report(store: str, folder: Path) -> None:
    """Writes `index.html` and `runs/RUN.html` into the folder, which may be there already; prints where the page is.

    Raises:
        UserError: there is no store, it cannot be read, or the folder cannot be written.
    """
    with existing_store(store) as objects:
        contents = read_contents(Store(objects))
    pages = {Path("runs", f"{run.id}.html"): render_report(run.evidence) for run in contents.runs}
    try:
        # The page last: its links lead to pages that are there.
        for name, html in {**pages, Path("index.html"): overview_page(contents)}.items():
            _write(folder / name, html)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    print(f"{folder / 'index.html'}: {len(contents.runs)} runs, {len(contents.releases)} releases")
    for problem in contents.problems:
        print(f"warning: {problem}")


def _write(path: Path, html: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(html, encoding="utf-8", errors="replace")
    fresh.replace(path)
