"""The page of the stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.report.page import Section, write_page
from components.core.stage_pages.drift import drift_blocks, drift_sentence


def write_drift_page(path: str | Path, document: Mapping[str, Any]) -> None:
    """The page: new rows, both tests, and the mix of classes."""
    write_page(
        path, "Drift", [Section("Against the champion's data", drift_blocks(document))], eyebrow="drift",
        lead=drift_sentence(document),
    )  # fmt: skip
