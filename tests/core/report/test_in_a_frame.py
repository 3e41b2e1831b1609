"""A page in the frame of the pipeline UI, in headless Chromium."""

from pathlib import Path
from typing import Any

import pytest
from browser import click_everything

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
