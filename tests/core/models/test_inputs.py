"""Inputs of networks: shapes with free dimensions, and examples of them."""

import numpy as np
import pytest

from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec, examples

IMAGES = InputSpec(name="images", dtype="float32", shape=(BATCH, 3, 8, 8))
TOKENS = InputSpec(name="tokens", dtype="int64", shape=(BATCH, "length"), high=5)


def test_free_dimensions_get_the_sizes_given() -> None:
    assert IMAGES.sizes({BATCH: 2}) == (2, 3, 8, 8)
    assert TOKENS.sizes({BATCH: 2, "length": 7}) == (2, 7)
    with pytest.raises(KeyError, match="length"):
        TOKENS.sizes({BATCH: 2})


def test_examples_have_dtype_and_shape_and_the_values_that_there_are() -> None:
    found = examples((IMAGES, TOKENS), {BATCH: 200, "length": 7})
    assert list(found) == ["images", "tokens"]
    assert (found["images"].dtype, found["images"].shape) == (np.float32, (200, 3, 8, 8))
    assert (found["tokens"].dtype, found["tokens"].shape) == (np.int64, (200, 7))
    assert set(found["tokens"].flatten().tolist()) == {0, 1, 2, 3, 4}
    assert found["images"].mean() == pytest.approx(0, abs=0.02)
    assert found["images"].std() == pytest.approx(1, abs=0.02)


def test_examples_follow_the_seed() -> None:
    def flat(seed: int) -> list[float]:
        return examples((IMAGES,), {BATCH: 1}, seed=seed)["images"].flatten().tolist()

    assert flat(0) == flat(0) != flat(1)


def test_a_graph_states_the_sizes_it_is_measured_at() -> None:
    graph = Graph(
        module=None, inputs=(TOKENS,), outputs=(OutputSpec(name="logits", shape=(BATCH, 2)),), free=(("length", 9),)
    )
    assert graph.sizes(4) == {BATCH: 4, "length": 9}


@pytest.mark.parametrize(
    ("dtype", "high", "message"),
    [
        ("float16", None, "dtype of input 'x' must be one of float32, int64, got 'float16'"),
        ("int64", None, "input 'x' of int64 needs high, the number of values, got None"),
        ("int64", 0, "input 'x' of int64 needs high, the number of values, got 0"),
    ],
)
def test_an_input_that_cannot_be_is_refused(dtype: str, high: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputSpec(name="x", dtype=dtype, shape=(BATCH,), high=high)


def test_a_free_dimension_has_its_typical_size_unless_another_is_given() -> None:
    spec = InputSpec(name="tokens", dtype="int64", shape=(BATCH, "length"), high=5, typical=(("length", 9),))
    assert spec.sizes({BATCH: 2}) == (2, 9)
    assert spec.sizes({BATCH: 2, "length": 3}) == (2, 3)
