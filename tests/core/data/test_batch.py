"""The count of a batch, and its parts."""

import numpy as np
import pytest
import torch

from components.core.data.batch import Batch, Share


def batch(weight=None):
    return Batch(
        inputs={"tokens": np.arange(8).reshape(4, 2), "lengths": np.arange(4)},
        targets=np.arange(12).reshape(4, 3),
        digests=list("abcd"),
        weight=weight,
    )


def test_without_a_weight_each_row_counts_once():
    assert len(batch()) == batch().count == 4


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_with_a_weight_its_true_elements_count(kind):
    assert batch(kind([[True, False, True], [False] * 3, [True] * 3, [False, True, False]])).count == 6


def test_a_part_holds_the_same_rows_of_everything():
    weight = np.eye(4, 3, dtype=bool)
    part = batch(weight).part(slice(1, 3))
    assert list(part.inputs) == ["tokens", "lengths"]
    assert part.inputs["tokens"].tolist() == [[2, 3], [4, 5]]
    assert part.inputs["lengths"].tolist() == [1, 2]
    assert part.targets.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.digests == ["b", "c"]
    assert part.weight.tolist() == [[False, True, False], [False, False, True]]
    assert batch().part(slice(0, 1)).weight is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_counts_of_all_parts_are_the_count_of_the_whole(size):
    whole = batch(np.array([[True, False, True], [False] * 3, [True] * 3, [False, True, False]]))
    parts = [whole.part(slice(*Share(rank, size).bounds(4))) for rank in range(size)]
    assert sum(part.count for part in parts) == whole.count == 6
    assert [digest for part in parts for digest in part.digests] == whole.digests


def test_a_list_of_targets_of_different_sizes_has_parts_too():
    one = Batch(inputs={"images": np.zeros((2, 1))}, targets=[np.zeros((2, 3)), np.zeros((4, 1))], digests=["a", "b"])
    assert [target.shape for target in one.part(slice(1, 2)).targets] == [(4, 1)]
