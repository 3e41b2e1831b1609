"""Numbers of the compiler at the end of a name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.component_names import base_name


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("fine-tune", "fine-tune"), ("fine-tune-2", "fine-tune"), ("fine-tune-2-2", "fine-tune"),
        ("resnet18", "resnet18"), ("resnet18-2", "resnet18"), ("a--2", "a-"), ("-2", ""), ("2-2", "2"), ("a-", "a-"),
    ],
)  # fmt: skip
def test_the_numbers_of_a_component_that_is_there_twice_go(name, base):
    assert base_name(name) == base
    assert base_name(name.replace("-", "_"), "_") == base.replace("-", "_")


@given(st.text("ab12-", max_size=12))
def test_it_is_what_the_expression_says(name):
    assert base_name(name) == re.sub(r"(-[0-9]+)+$", "", name)


def test_a_name_of_a_million_numbers_is_looked_at_once():
    assert base_name("-1" * 1_000_000 + "x") == "-1" * 1_000_000 + "x"
    assert base_name("x" + "-1" * 1_000_000) == "x"
