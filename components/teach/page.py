"""The page of what a teacher has answered."""

from collections.abc import Mapping
from pathlib import Path

from components.core.data.dataset import Dataset
from components.core.numbers import count, percent
from components.core.report.page import Section, facts, write_page
from components.core.tasks import get_task


def write_teaching_page(path: str | Path, taught: Dataset, figures: Mapping[str, float], *, beam: int) -> None:
    """Writes the page: how many rows were kept and dropped, and a few rows as students see them."""
    task = get_task(taught.task)
    if not beam:
        lead = "The labels are used as they are (teacher_beam is 0)."
        write_page(path, "Teaching", [], eyebrow="teach", lead=lead)
        return
    kept = round(figures["answered"] - figures["dropped"])
    result = facts(
        {
            f"training {task.row_noun} answered": count(round(figures["answered"])),
            "dropped, of whose answers the teacher is least sure": count(round(figures["dropped"])),
            "of them without an answer": count(round(figures["unanswered"])),
            "answers that are the label": percent(figures["as_labelled_fraction"], digits=1),
            "largest loss per element that was kept": f"{figures['worst_loss']:.3f}",
            "hypotheses per row": beam,
        }
    )
    sections = [Section("Result", result), Section("As students see them", task.rows.samples(taught))]
    lead = f"{kept:,} training {task.row_noun} have the teacher's answers as their targets."
    write_page(path, "Teaching", sections, eyebrow="teach", lead=lead)


def write_replay_page(path: str | Path, replayed: Dataset, figures: Mapping[str, float], *, asked: float) -> None:
    """How many rows were added, and a few rows as the network sees them."""
    task = get_task(replayed.task)
    added = round(figures["replayed"])
    result = facts(
        {
            f"{task.row_noun} added": count(added),
            "inputs without an answer": count(round(figures["unanswered"])),
            "of all that is trained on": percent(figures["replayed_fraction"], digits=1),
            "asked for": percent(asked, digits=1),
        }
    )
    sections = [Section("Result", result), Section("As the network sees them", task.rows.samples(replayed))]
    lead = f"{added:,} training {task.row_noun} have the answers of the network before tuning as their targets."
    write_page(path, "Replay", sections, eyebrow="teach", lead=lead)
