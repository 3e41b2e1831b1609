"""A page in the frame of the pipeline UI, in headless Chromium."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import click_everything
from finished_run import FinishedRun, stage_of

from components.core.report.page import Details, Section, render_page, text

pytestmark = pytest.mark.containers

LONG = [Section(name, [text("x\n\n" * 200), Details("more", (text("folded"),))]) for name in "abcd"]


def clicked(tmp_path: Path, *, scripts: bool) -> dict[str, Any]:
    return click_everything(render_page("A page", LONG), tmp_path, scripts=scripts)


def test_a_page_stays_in_a_frame_without_scripts_whatever_is_clicked(tmp_path: Path) -> None:
    seen = clicked(tmp_path, scripts=False)
    assert seen["loads"] == 1
    assert seen["clicked"] >= 8
    assert seen["shown"] > 800


def test_a_page_scrolls_to_its_sections_in_the_frame_of_the_ui(tmp_path: Path) -> None:
    seen = clicked(tmp_path, scripts=True)
    assert seen["loads"] == 1
    assert seen["buttons"]
    assert seen["scrolled"] > 1000


def pages_of(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """The pages of the runs by stage and name, the first of each."""
    found: dict[str, str] = {}
    for run in runs:
        for record in run.records().values():
            for name, artifacts in record["output_artifacts"].items():
                for artifact in artifacts:
                    if artifact["type"].startswith("system.HTML") and Path(artifact["uri"]).is_file():
                        found.setdefault(f"{stage_of(record)}/{name}", Path(artifact["uri"]).read_text("utf-8"))
    return found


@pytest.mark.demo
@pytest.mark.timeout(3000)
def test_the_pages_of_real_runs_stay_in_the_frame_whatever_is_clicked(
    reduced_run: FinishedRun, retrained_run: FinishedRun, compressed_run: FinishedRun, tmp_path: Path
) -> None:
    pages = pages_of((reduced_run, retrained_run, compressed_run))
    stages = {name.partition("/")[0] for name in pages}
    assert stages >= {"data_prep", "backbone_selection", "fine_tune", "prune", "distill", "quantize", "evaluate",
                      "choose", "drift", "judge", "run_report"}  # fmt: skip
    for number, (name, page) in enumerate(pages.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_page(name, page, folder)


def check_page(name: str, page: str, folder: Path) -> None:
    """The page is in the frame, and still there after all its links, buttons and summaries were clicked."""
    seen = click_everything(page, folder, scripts=True)
    assert seen["loads"] == 1, f"{name} has left its frame: {seen}"
    # The frame shows much more than where a link would lead, and more than a page's heading.
    assert seen["shown"] > 200, f"{name} is blank: {seen}"
    expected = len(re.findall(r"<(?:a|area|summary)\b", page)) + page.count('<button type="button"')
    assert seen["clicked"] == expected, f"{name}: {seen}"
