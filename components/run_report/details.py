"""The release in detail: what its task shows of it, and the slices of the data."""

from components.core.evaluation.blocks import slice_table
from components.core.report.page import Section
from components.core.tasks import get_task
from components.run_report.evidence import Evidence


def task_sections(evidence: Evidence) -> list[Section]:
    """Details of the release's task: classes, samples, …"""
    final = evidence.final
    if final is None:
        return []
    return get_task(final.task).pages.evaluation_sections(final, candidate="release")


def slice_section(evidence: Evidence) -> Section | None:
    """Both models on each slice of the test rows."""
    final = evidence.final
    shown = None if final is None else slice_table(final, candidate="release")
    return None if shown is None else Section("Slices", shown, note="On the test split.")
