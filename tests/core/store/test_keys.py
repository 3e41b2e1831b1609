from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.core.store.keys import cache_key, canonical_json

text = st.text(st.characters(exclude_categories=("Cs",)))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


@given(values)
def test_canonical_json_is_json_of_an_equal_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(values)
def test_canonical_json_is_stable_under_a_round_trip(value: Any) -> None:
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(st.dictionaries(text, values, min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@given(st.lists(values))
def test_a_tuple_equals_a_list(value: list[Any]) -> None:
    assert canonical_json(tuple(value)) == canonical_json(value)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_integral_float_equals_the_integer(value: int) -> None:
    assert canonical_json(float(value)) == canonical_json(value)


@given(values, values)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    # json.dumps of the plain value tells 1 from 1.0, which is the only pair that is meant to be equal.
    assume(one != other)
    assert canonical_json(one) != canonical_json(other)


def test_true_is_not_one() -> None:
    assert canonical_json([True, False]) != canonical_json([1, 0])


def test_canonical_json_has_sorted_keys_no_spaces_and_utf8() -> None:
    assert canonical_json({"b": [1.0, -0.0, 0.1, None], "a": "ü"}) == '{"a":"ü","b":[1,0,0.1,null]}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800", {"\ud800": 1}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (json's and the codec's own words)
        canonical_json([value])


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {1: "one"}, {None: 1}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"JSON"):
        canonical_json({"value": value})


def test_the_cache_key_is_the_digest_of_what_determines_the_work() -> None:
    key = cache_key(component="prune", code="c0de", parameters={"b": 0.5, "a": 1.0}, inputs={"model": "d1"})
    text = '{"code":"c0de","component":"prune","format":1,"inputs":{"model":"d1"},"parameters":{"a":1,"b":0.5}}'
    assert key == hashlib.sha256(text.encode()).hexdigest()


def test_each_part_of_the_work_changes_the_key() -> None:
    work: dict[str, Any] = {"component": "a", "code": "a", "parameters": {"p": 1}, "inputs": {"i": "1"}}
    changed = [{"component": "b"}, {"code": "b"}, {"parameters": {"p": 2}}, {"inputs": {"i": "2"}}]
    keys = {cache_key(**work), *(cache_key(**{**work, **change}) for change in changed)}
    assert len(keys) == 5


def test_importing_the_store_imports_no_boto3() -> None:
    program = "import sys, components.core.store as s; s.open_store('folder'); sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
