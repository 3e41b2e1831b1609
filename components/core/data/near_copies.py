"""Near copies: rows whose measured vectors lie close together. What the vector is belongs to the task's rows."""

from dataclasses import dataclass

import numpy as np

NUM_TABLES, BITS = 16, 64
"""Each table files a vector under the sides of 32 planes that it lies on; close vectors share most sides."""

MOST_COMPARED = 64
"""Neighbours in a table that a row is compared with, at most: the work grows with the rows, not with their square."""

_SEED = 20261130
_ROWS_AT_A_TIME = 65536


@dataclass(frozen=True, kw_only=True)
class NearCopies:
    """The meaning of "near" for rows.

    Attributes:
        column: raw column with the vector: `dimensions` float16 as bytes, of unit length; null where a row has none.
        dimensions: of a vector.
        distance: Euclidean distance up to which two rows are near copies.
        meaning: for people, what is found: "re-encoded, resized or slightly brightened copies".
    """

    column: str
    dimensions: int
    distance: float
    meaning: str


def group_near(vectors: np.ndarray, distance: float) -> np.ndarray:
    """Which rows belong together: directly near, or through others that are.

    Locality-sensitive hashing by random planes (Charikar 2002); then each pair that shares a key is measured.
    Of pairs 0.06 apart four in a thousand share no key, of pairs 0.03 apart four in a million.

    Args:
        vectors: `(N, D)`, of unit length; zeros stand for a row that is near to none.
        distance: up to which two are near.

    Returns:
        For each row the smallest number of a row of its group, int64 `(N,)`: its own if it stands alone.
    """
    rows = np.flatnonzero(np.any(vectors != 0, axis=1))
    groups = np.arange(len(vectors))
    planes = np.random.default_rng(_SEED).standard_normal((vectors.shape[1], NUM_TABLES, BITS + 1)).astype(np.float32)
    # The last plane is a direction of unit length: values along it differ by no more than the vectors do.
    planes[..., BITS] /= np.linalg.norm(planes[..., BITS], axis=0)
    for table in range(NUM_TABLES):
        keys, along = _filed(vectors, rows, planes[:, table])
        order = np.lexsort((along, keys))
        keys, along, ordered = keys[order], along[order], rows[order]
        for step in range(1, min(MOST_COMPARED, len(rows) - 1) + 1):
            first = np.flatnonzero((keys[step:] == keys[:-step]) & (along[step:] - along[:-step] <= distance))
            if not len(first):
                break
            _join(groups, *_near_pairs(vectors, ordered[first], ordered[first + step], distance))
    return groups


def _filed(vectors: np.ndarray, rows: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Key and place along the last direction of each of `rows`."""
    keys, along = np.empty(len(rows), dtype=np.uint64), np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        values = vectors[rows[part]].astype(np.float32) @ planes
        keys[part] = np.packbits(values[:, :BITS] > 0, axis=1).view(np.uint64)[:, 0]
        along[part] = values[:, BITS]
    return keys, along


def _near_pairs(
    vectors: np.ndarray, first: np.ndarray, second: np.ndarray, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    near = np.empty(len(first), dtype=bool)
    for start in range(0, len(first), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        apart = vectors[first[part]].astype(np.float32) - vectors[second[part]].astype(np.float32)
        near[part] = np.einsum("nd,nd->n", apart, apart) <= distance**2
    return first[near], second[near]


def _join(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Makes each pair one group, in place: the smaller number spreads until nothing changes."""
    while True:
        before, after = groups[first], groups[second]
        apart = before != after
        if not apart.any():
            return
        first, second = first[apart], second[apart]
        low, high = np.minimum(before, after)[apart], np.maximum(before, after)[apart]
        # `high` is the smallest of its group so far, and every row of that group leads to it.
        np.minimum.at(groups, high, low)
        while np.any(groups[groups] != groups):
            groups[:] = groups[groups]
