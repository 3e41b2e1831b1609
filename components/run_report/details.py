"""The release in detail: what its task shows of it, corrupted inputs, and the slices of the data."""

from components.core.evaluation.blocks import slice_table
from components.core.evaluation.robustness_blocks import robustness_blocks
from components.core.report.page import Section
from components.core.tasks import get_task
from components.run_report.evidence import Evidence


def task_sections(evidence: Evidence) -> list[Section]:
    """Details of the release's task: classes, samples, …"""
    final = evidence.final
    if final is None:
        return []
    return get_task(final.task).pages.evaluation_sections(final, candidate="release")


def robustness_section(evidence: Evidence) -> Section | None:
    """Both models on corrupted test rows."""
    final = evidence.final
    blocks = [] if final is None else robustness_blocks(final, candidate="release")
    return Section("Robustness", blocks, note="On rows of the test split, damaged.") if blocks else None


def slice_section(evidence: Evidence) -> Section | None:
    """Both models on each slice of the test rows."""
    final = evidence.final
    shown = None if final is None else slice_table(final, candidate="release")
    return None if shown is None else Section("Slices", shown, note="On the test split.")
