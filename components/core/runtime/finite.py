"""Answers that are no numbers: the largest of them would be taken for an answer, class 0 for NaN."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from components.core.errors import UserError


def refuse_no_numbers(outputs: Mapping[str, Any], row_noun: str) -> None:
    """UserError where an output is NaN or +∞; −∞ rules a class out and is allowed.

    Args:
        outputs: by name, arrays with the rows first; what is no array of floats is not looked at.
        row_noun: what a row is, in the plural.
    """
    for name, values in outputs.items():
        if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
            continue
        wrong = np.isnan(values) | np.isposinf(values)
        rows = int(np.count_nonzero(wrong.any(axis=tuple(range(1, wrong.ndim)))))
        if rows:
            raise UserError(
                f"the model gives NaN or infinity ({name!r}) for {rows} of {len(values)} {row_noun}; train it again "
                "with a lower learning rate or without mixed precision"
            )
