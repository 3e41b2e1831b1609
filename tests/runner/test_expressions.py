import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.runner.expression_values import ExpressionError
from pipelines.runner.expressions import Expression

NAME = "pipelinechannel--x"


def value_of(text: str, **parameters: object) -> object:
    return Expression(text).evaluate({"inputs": {"parameter_values": {NAME: parameters.get("x"), **parameters}}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 == 1.0", True),
        ("1 == '1'", False),
        ("true != false", True),
        ("!(1 > 2) && 2 >= 2", True),
        ("false || 'b' > 'a'", True),
        ("1 + 2 * 3 - 4", 3),
        ("-7 / 2", -3),  # CEL truncates towards zero
        ("-7 % 2", -1),
        ("7.0 / 2", 3.5),
        ("'a' + 'b' == 'ab'", True),
        ("2 in [1, 2]", True),
        ("'k' in inputs.parameter_values", False),
        ("size('abc') == 3 && 'abc'.startsWith('ab') && 'abc'.contains('b') && !'abc'.endsWith('x')", True),
        ("1 < 2 ? 'yes' : 'no'", "yes"),
        ("double('1.5') + int('2')", 3.5),
        ("string(1.0)", "1"),
        ("bool('true')", True),
        (r"'it\'s' == \"it's\"".replace('\\"', '"'), True),
        ("null == null", True),
        ("[1, [2]] == [1.0, [2]]", True),
    ],
)
def test_expression_has_the_value_that_cel_gives_it(text: str, expected: object) -> None:
    found = value_of(text)
    assert found == expected
    assert type(found) is type(expected)


def test_conditions_as_the_compiler_writes_them() -> None:
    text = f"!(inputs.parameter_values['{NAME}'] == 'heads') && int(inputs.parameter_values['n']) > 3"
    assert value_of(text, x="tails", n=4.0) is True
    assert value_of(text, x="heads", n=4) is False
    assert value_of(text, x="tails", n=3) is False


@given(st.text())
def test_any_text_compares_as_a_value_and_never_as_code(text: str) -> None:
    assert value_of(f"inputs.parameter_values['{NAME}'] == 'heads'", x=text) is (text == "heads")


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_integers_compare_as_python_compares_them(left: int, right: int) -> None:
    for operator, expected in (("<", left < right), ("<=", left <= right), ("==", left == right)):
        assert value_of(f"({left}) {operator} ({right})") is expected


@given(st.recursive(st.integers() | st.text() | st.booleans(), lambda inner: st.dictionaries(st.text(), inner)))
def test_selector_picks_what_json_holds(value: object) -> None:
    text = json.dumps({"a": {"b": value}})
    assert Expression('parseJson(string_value)["a"]["b"]').evaluate({"string_value": text}) == value


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "(1", "a == 1", "__import__('os')", "eval('1')", "'it's' == 'x'", "1 === 1", "x.y()", "[1", "1 2", "@"],
)
def test_what_is_outside_the_subset_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text)


@pytest.mark.parametrize(
    "text",
    ["'a' < 1", "1 && true", "!1", "-'a'", "1 / 0", "1 % 0", "int('x')", "inputs.missing", "[1][2]", "1[0]", "'a' * 2"],
)
def test_what_does_not_apply_fails_when_it_is_evaluated_and_names_the_expression(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(text)
    assert text in str(caught.value)


def test_deep_nesting_is_refused_instead_of_exhausting_the_stack() -> None:
    with pytest.raises(ExpressionError, match="deep"):
        Expression("(" * 5000 + "1" + ")" * 5000)
