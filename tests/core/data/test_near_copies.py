"""Groups of near vectors, against all pairs measured one by one."""

import numpy as np
import pytest

from components.core.data import near_copies
from components.core.data.near_copies import group_near

DISTANCE = 0.06


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float16)


def scattered(rng: np.random.Generator, rows: int, *, copies: int, apart: float) -> np.ndarray:
    """Rows of which the first `copies` have one more, about `apart` away, at the end."""
    first = rng.standard_normal((rows, 99)) / np.arange(1, 100)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    moved = rng.standard_normal((copies, 99))
    moved *= apart / np.linalg.norm(moved, axis=1, keepdims=True)
    return unit(np.concatenate([first, first[:copies] + moved]))


def by_all_pairs(vectors: np.ndarray) -> list[int]:
    """Smallest row of each row's group; connected by breadth."""
    wide = vectors.astype(np.float64)
    near = np.linalg.norm(wide[:, None] - wide[None], axis=2) <= DISTANCE
    groups = list(range(len(vectors)))
    for start in range(len(vectors)):
        waiting = [start]
        while groups[start] == start and waiting:
            for other in np.flatnonzero(near[waiting.pop()]).tolist():
                if other > start and groups[other] != start:
                    groups[other] = start
                    waiting.append(other)
    return groups


def test_the_groups_are_those_of_all_pairs() -> None:
    vectors = scattered(np.random.default_rng(1), 300, copies=100, apart=0.03)
    expected = by_all_pairs(vectors)
    assert group_near(vectors, DISTANCE).tolist() == expected
    assert sum(row != group for row, group in enumerate(expected)) >= 100


def test_rows_are_joined_through_others() -> None:
    angles = 0.05 * np.arange(5)
    chain = np.zeros((6, 8))
    chain[:5, 0], chain[:5, 1] = np.cos(angles), np.sin(angles)
    chain[5, 2] = 1
    shuffled = [3, 0, 4, 1, 2, 5]
    assert group_near(unit(chain[shuffled]), DISTANCE).tolist() == [0, 0, 0, 0, 0, 5]


def test_a_row_without_a_vector_is_near_to_none() -> None:
    vectors = np.zeros((4, 8), dtype=np.float16)
    vectors[1, 0] = vectors[3, 0] = 1
    assert group_near(vectors, DISTANCE).tolist() == [0, 1, 2, 1]
    assert group_near(np.zeros((0, 8), dtype=np.float16), DISTANCE).tolist() == []


def test_many_copies_of_one_row_are_one_group_and_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0
    near_pairs = near_copies._near_pairs

    def counted(vectors: np.ndarray, first: np.ndarray, *rest: object) -> object:
        nonlocal measured
        measured += len(first)
        return near_pairs(vectors, first, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(near_copies, "_near_pairs", counted)
    vectors = np.repeat(scattered(np.random.default_rng(2), 1, copies=0, apart=0), 3000, axis=0)
    assert group_near(vectors, DISTANCE).tolist() == [0] * 3000
    assert measured <= near_copies.NUM_TABLES * near_copies.MOST_COMPARED * 3000 < 3000**2
