"""The split: decided by content."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UserError
from components.data_prep.splitting import (
    ALL_PARTS,
    Fractions,
    UnsplittableError,
    position,
    small_strata,
    split_of,
    split_shared_keys,
    split_small_stratum,
)

DEFAULT = Fractions(validation=0.15, test=0.25)
digests = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
shares = st.floats(min_value=0.01, max_value=0.45)


def test_position_is_the_digest_read_as_a_binary_fraction() -> None:
    assert position("8" + "0" * 63) == 0.5
    assert position("0" * 64) == 0.0
    assert position("4" + "0" * 63) == 0.25
    assert 1 - 2**-50 < position("f" * 64) < 1


@pytest.mark.parametrize(
    ("digest", "split"),
    [("0", "test"), ("3fff", "test"), ("4", "validation"), ("6665", "validation"), ("6667", "train"), ("f", "train")],
)
def test_test_comes_first_then_validation_then_training(digest: str, split: str) -> None:
    assert split_of(digest.ljust(64, "0"), DEFAULT) == split


def test_shares_are_met_on_many_images() -> None:
    names = [split_of(hashlib.sha256(str(n).encode()).hexdigest(), DEFAULT) for n in range(10_000)]
    assert names.count("test") == pytest.approx(2500, abs=150)
    assert names.count("validation") == pytest.approx(1500, abs=120)


@given(digests, shares, shares, shares)
def test_more_test_data_keeps_every_test_image_in_test(
    digest: str, validation: float, test: float, more: float
) -> None:
    small, large = sorted((test, more))
    if split_of(digest, Fractions(validation=validation, test=small)) == "test":
        assert split_of(digest, Fractions(validation=validation, test=large)) == "test"


@given(st.lists(digests, unique=True, min_size=3, max_size=30), shares, shares, st.randoms())
def test_a_small_class_has_an_image_in_each_split_and_its_order_does_not_matter(
    members: list[str], validation: float, test: float, random: object
) -> None:
    fractions = Fractions(validation=validation, test=test)
    splits = split_small_stratum(members, fractions)
    assert set(splits) == set(members)
    assert set(splits.values()) == {"test", "validation", "train"}
    random.shuffle(members)  # type: ignore[attr-defined]
    assert split_small_stratum(members, fractions) == splits


@given(st.lists(digests, unique=True, min_size=3, max_size=30))
def test_ranks_equal_the_content_rule_where_no_split_would_be_empty(members: list[str]) -> None:
    by_content = {digest: split_of(digest, DEFAULT) for digest in members}
    if len(set(by_content.values())) == 3:
        assert split_small_stratum(members, DEFAULT) == by_content


def test_small_classes_are_those_with_an_empty_split() -> None:
    full = {"train": 5, "validation": 1, "test": 2}
    lacking = {"a": full, "b": {**full, "test": 0}}
    assert small_strata(lacking) == ["b"]
    assert small_strata(lacking, ("validation", "train")) == []


def test_keys_of_two_strata_have_one_split_and_each_stratum_has_something_in_each_part() -> None:
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(12)]
    # All would be for training, and half of them belong to both.
    placed = [key for key in keys if split_of(key, DEFAULT) == "train"][:6]
    members = {"a": set(placed[:4]), "b": set(placed[2:])}
    splits = split_shared_keys(members, DEFAULT, ALL_PARTS)
    for names in members.values():
        assert {splits[key] for key in names} == set(ALL_PARTS)


def test_a_stratum_with_too_few_keys_is_named() -> None:
    with pytest.raises(UnsplittableError, match="'a'"):
        split_shared_keys({"a": {"0" * 64, "f" * 64}}, DEFAULT, ALL_PARTS)


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (0.0, 0.2, "validation_fraction must be greater than 0 and less than 1; got 0.0"),
        (0.2, 1.0, "test_fraction must be greater than 0 and less than 1; got 1.0"),
        (float("nan"), 0.2, "validation_fraction"),
        (0.5, 0.5, "leave 0% of the data for training"),
    ],
)
def test_impossible_shares_are_named(validation: float, test: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Fractions(validation=validation, test=test)
