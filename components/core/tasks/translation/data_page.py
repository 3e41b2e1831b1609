"""The data page of sentence pairs: lengths, samples, and pairs that look doubtful."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from components.core.data.dataset import SPLITS
from components.core.numbers import percent
from components.core.report import page
from components.core.report.figures import bars
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.languages import languages_of
from components.core.tasks.translation.lengths import LENGTHS, histogram

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SHOWN_SAMPLES = 12
MEASURED_ROWS = 50_000
"""Rows of a split, spread evenly, whose lengths are counted."""


def data_blocks(dataset: "Dataset") -> list[Any]:
    """Words of the sentences per split, and of both sides together."""
    counts = {split: _lengths(dataset, split) for split in SPLITS}
    rows = []
    for number, name in enumerate(LENGTHS):
        cells: list[Any] = [name]
        for split in SPLITS:
            share = counts[split][number] / max(1, sum(counts[split]))
            cells.append(page.Cell(f"{counts[split][number]:,}", sub=percent(share, digits=1)))
        rows.append(cells)
    many = any(dataset.counts[split] > MEASURED_ROWS for split in SPLITS)
    sampled = f" Of {MEASURED_ROWS:,} rows per split." if many else ""
    shown = {name: float(count) for name, count in zip(LENGTHS, counts["train"], strict=True)}
    return [
        page.table(["source sentence", *SPLITS], rows, caption=f"Source sentences by length and split.{sampled}"),
        page.figure(bars(shown, title="Training sentences by length")),
    ]


def _lengths(dataset: "Dataset", split: str) -> list[int]:
    return histogram(row[TEXT] for row in dataset.iterate(split, columns=(TEXT,), limit=MEASURED_ROWS))


def samples(dataset: "Dataset") -> list[Any]:
    """A few training pairs."""
    rows = [
        [row[TEXT], row[TRANSLATION], row["source"]]
        for row in dataset.iterate("train", columns=(TEXT, TRANSLATION, "source"), limit=SHOWN_SAMPLES)
    ]
    return [page.table([*languages_of(dataset), "from"], rows, caption=f"Up to {SHOWN_SAMPLES} training pairs.")]


def doubts_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Of the rows that are kept: near copies, and sentences that have several translations.

    Args:
        rows: with `source_key`, `target_key`.
    """
    pairs: Counter[tuple[int, int]] = Counter((row["source_key"], row["target_key"]) for row in rows)
    total = pairs.total()
    found = []
    if near := total - len(pairs):
        found.append((
            "Near copies",
            f"{near:,} of {total:,} sentence pairs differ from another one in case, digits and punctuation only. "
            "They are in the same split as it.",
        ))  # fmt: skip
    sources = Counter(source for source, _ in pairs)
    if several := sum(count > 1 for count in sources.values()):
        found.append((
            "Several translations",
            f"{several:,} of {len(sources):,} sentences have several translations, all of them in one split.",
        ))  # fmt: skip
    return found
