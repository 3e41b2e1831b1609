"""Keeps content apart that a task says must not lie on both sides of a split: the same translation of two sentences."""

from collections.abc import Iterator

import numpy as np

from components.core.data.dataset import SPLITS
from components.core.data.ingestion.items import Rejection
from components.core.data.rows import CONTENT_IN_TWO_SPLITS
from components.core.data.spill import Spill
from components.core.errors import UserError
from components.data_prep.plan import Plan
from components.data_prep.quarantine import Quarantine
from components.data_prep.settings import Settings

_TRAIN, _VALIDATION, _TEST = (SPLITS.index(split) for split in ("train", "validation", "test"))


def keep_apart(plan: Plan, spill: Spill, settings: Settings, quarantine: Quarantine) -> None:
    """Leaves out rows of training that share a value of `RowFormat.apart_columns` with a row of validation or test.

    And rows of validation that share one with a row of test. The test split stays as it is: it is training that must
    not know the answers. Memory: 8 bytes per held-out row and column.

    Raises:
        UserError: nothing is left of a split.
    """
    titles = settings.rows.apart_columns
    columns = tuple(titles)
    if not columns:
        return
    for leaving, held in ((_VALIDATION, (_TEST,)), (_TRAIN, (_TEST, _VALIDATION))):
        known = _held(plan, spill, columns, held)
        for bucket, values in _each(plan, spill, columns):
            splits = plan.splits[bucket]
            shared = [np.isin(own, theirs) for own, theirs in zip(values, known, strict=True)]
            gone = (splits == leaving) & np.any(shared, axis=0)
            if not gone.any():
                continue
            names = spill.table(bucket).select(["source"]).take(plan.rows[bucket][gone])["source"].to_pylist()
            for name, row in zip(names, np.flatnonzero(gone), strict=True):
                said = " and ".join(titles[column] for column, mask in zip(columns, shared, strict=True) if mask[row])
                detail = f"of the {SPLITS[leaving]} split; {said} is held out too"
                quarantine.add(name, None, Rejection(CONTENT_IN_TWO_SPLITS, detail))
            plan.rows[bucket], plan.splits[bucket] = plan.rows[bucket][~gone], splits[~gone]
        if not any((splits == leaving).any() for splits in plan.splits.values()):
            raise UserError(
                f"dataset {settings.dataset}: no {settings.rows.noun.removesuffix('s')} is left in the "
                f"{SPLITS[leaving]} split, because each one also occurs in a held-out split; give more data, or "
                "data that differ more"
            )


def _each(plan: Plan, spill: Spill, columns: tuple[str, ...]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The values of the kept rows, per bucket and column."""
    for bucket in list(plan.rows):
        table = spill.table(bucket).select(list(columns)).take(plan.rows[bucket])
        yield bucket, [table[column].to_numpy() for column in columns]


def _held(plan: Plan, spill: Spill, columns: tuple[str, ...], splits: tuple[int, ...]) -> list[np.ndarray]:
    """Distinct values of each column in the rows of these splits, sorted."""
    found: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.uint64)] for _ in columns]
    for bucket, values in _each(plan, spill, columns):
        kept = np.isin(plan.splits[bucket], splits)
        for listed, own in zip(found, values, strict=True):
            listed.append(own[kept])
    return [np.unique(np.concatenate(listed)) for listed in found]
