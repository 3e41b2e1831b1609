"""The whole report: sections in the order of reading, each of which may be missing."""

from collections.abc import Callable
from typing import Any

from components.core.report.page import Callout, Section, render_page
from components.run_report.details import robustness_section, slice_section, task_sections
from components.run_report.evidence import Evidence
from components.run_report.record import asked_section, data_section, provenance_section, task_section
from components.run_report.result import failure_section, headline, result_section
from components.run_report.retraining import retraining_section
from components.run_report.search import backbone_section, choice_section, race_section, training_section
from components.run_report.summary import find_release, summarize

Built = Section | list[Section] | None

_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
"""Errors that a stage's JSON of an unexpected shape raises while it is shown."""


def render_report(evidence: Evidence) -> str:
    """The report as one self-contained HTML page; whatever is missing or malformed, there is a page."""
    parts: list[tuple[str, Callable[[], Built]]] = [
        ("What failed", lambda: failure_section(evidence)),
        ("Retraining", lambda: retraining_section(evidence)),
        ("Result", lambda: result_section(evidence)),
        ("What was asked", lambda: asked_section(evidence)),
        ("Recipes", lambda: choice_section(evidence)),
        ("Race", lambda: race_section(evidence)),
        ("Tasks", lambda: task_section(evidence)),
        ("Backbones", lambda: backbone_section(evidence)),
        ("Training", lambda: training_section(evidence)),
        ("Robustness", lambda: robustness_section(evidence)),
        ("Slices", lambda: slice_section(evidence)),
        ("The release in detail", lambda: task_sections(evidence)),
        ("Data", lambda: data_section(evidence)),
        ("Provenance", lambda: provenance_section(evidence, find_release(evidence))),
    ]
    sections = [section for name, build in parts for section in _built(name, build)]
    if not evidence.tasks:
        note = "The store's journal holds no record of this run; its tasks and results cannot be shown."
        sections.insert(0, Section("", Callout("No record of this run", note, "warn")))
    title, lead = _headline(evidence)
    eyebrow = " · ".join(part for part in ("trimtab", evidence.pipeline, f"run {evidence.run_id}") if part)
    footer = "Everything on this page is in this file; it loads nothing."
    return render_page(title, sections, eyebrow=eyebrow, lead=lead, footer=footer)


def summary(evidence: Evidence, *, report: str) -> dict[str, Any]:
    """`summarize`, or what is left of it when a stage's JSON has an unexpected shape."""
    try:
        return summarize(evidence, report=report)
    except _MALFORMED as error:
        files, state = {"report": report}, evidence.ending
        problem = f"the result could not be read: {type(error).__name__}: {error}"
        return {"title": f"The run {state}", "lead": problem, "columns": [], "rows": [], "files": files, "outputs": {}}


def _headline(evidence: Evidence) -> tuple[str, str]:
    try:
        return headline(evidence)
    except _MALFORMED:
        return f"The run {evidence.ending}", ""


def _built(name: str, build: Callable[[], Built]) -> list[Section]:
    try:
        built = build()
    except _MALFORMED as error:
        body = f"A stage left this in an unexpected shape ({type(error).__name__}: {error})."
        return [Section(name, Callout("This part cannot be shown", body, "warn"))]
    if built is None:
        return []
    return built if isinstance(built, list) else [built]
