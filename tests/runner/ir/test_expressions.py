"""Conditions and selectors against what KFP's driver does with them (backend/src/v2/expression, cel-go 0.30)."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runner.ir import expressions
from pipelines.runner.ir.bounded import OutOfBounds
from pipelines.runner.ir.expressions import Condition, ExpressionError, Selector

X = "inputs.parameter_values['pipelinechannel--x']"


def holds(text: str, **parameters: Any) -> bool:
    named = {f"pipelinechannel--{name}": value for name, value in parameters.items()}
    return Condition(text).holds({**named, **parameters}, {})


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        # KFP's own cases: a number of a parameter is a double, and a double equals an integer.
        (f"{X} == 1", 1, True),
        (f"{X} == 1.0", 1, True),
        (f"int({X}) > 5", 6, True),
        (f"int({X}) > 5", 5, False),
        (f"{X} > 5", 5.5, True),
        (f"{X} == '1'", 1, False),
        (f"{X} == true", True, True),
        (f"{X} == true", False, False),
        (f"{X} == 'true'", True, False),
        (f"!({X} == 'heads') && {X} == 'tails'", "tails", True),
        (f"{X} == 'heads' || {X} == 'tails'", "edge", False),
        (f"{X} < 'b'", "a", True),
        (f"{X} == null", None, True),
        (f"{X} == [1, 2]", [1, 2], True),
        (f"{X} == [1, 2]", [1.0, 2.5], False),
        (f"{X} == ['a', true, null, [1]]", ["a", True, None, [1.0]], True),
        (f"{X} == {{'a': 1, 'b': [true]}}", {"b": [True], "a": 1.0}, True),
        (f"{X}.a.b[1] == 'q'", {"a": {"b": ["p", "q"]}}, True),
        (f"'k' in {X}", {"k": None}, True),
        (f"2 in {X}", [1, 2], True),
        (f"size({X}) == 4", "äöü😀", True),
        (f"{X} == 'a\\u0000b'", "a\0b", True),
        (f"{X} == 'a'", "a\0b", False),
        (f"parseJson({X}).n == 3", '{"n": 3}', True),
        (f"{X}.startsWith('ab') ? {X}.endsWith('c') : false", "abc", True),
        (f"{X}.matches('^[a-c]+$')", "abc", True),
        (f"{X}.exists(item, item > 2)", [1, 3], True),
        (f"string({X}) == '1.5' && double('1.5') == {X}", 1.5, True),
    ],
)
def test_condition_holds_as_it_does_on_a_cluster(text: str, value: Any, expected: bool) -> None:
    assert holds(text, x=value) is expected


@settings(deadline=None)  # the first example loads the library
@given(st.text())
def test_any_text_compares_as_a_value_and_never_as_code(text: str) -> None:
    assert holds(f"{X} == 'heads'", x=text) is (text == "heads")
    assert holds(f"{X} == inputs.parameter_values['y']", x=text, y=text)


@settings(deadline=None)  # the first example loads the library
@given(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53))
def test_integers_up_to_the_precision_of_a_double_compare_exactly(left: int, right: int) -> None:
    for operator, expected in (("<", left < right), ("<=", left <= right), ("==", left == right)):
        assert holds(f"int({X}) {operator} int(inputs.parameter_values['y'])", x=left, y=right) is expected


def test_condition_sees_the_metadata_of_an_artifact_as_on_a_cluster() -> None:
    model = {"name": "m", "uri": "s3://b/k", "type": {"schemaTitle": "system.Model"}, "metadata": {"accuracy": 0.95}}
    for text, expected in (
        ("inputs.artifacts['model'].artifacts[0].metadata['accuracy'] * 100.0 > 90.0", True),
        ("inputs.artifacts['model'].artifacts[0].metadata['accuracy'] * 100.0 <= 90.0", False),
        ("inputs.artifacts['model'].artifacts[0].type.schema_title == 'system.Model'", True),
        ("inputs.artifacts['model'].artifacts[0].uri.startsWith('s3://')", True),
    ):
        assert Condition(text).holds({}, {"model": [model]}) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mismatched input"),
        ("1 +", "at character"),
        ("(1", "at character"),
        ("1 === 1", "at character"),
        ("@", "at character"),
        ("a == 1", r"undeclared reference to 'a' \(known: inputs.parameter_values"),
        ("inputs.parametervalues['a'] == 1", r"'inputs.parametervalues' \(known: inputs.parameter_values"),
        ("inputs.parameters['a'].string_value == 'x'", "known: inputs.parameter_values"),
        ("__import__('os')", "undeclared reference to '__import__'"),
        ("eval('1') == 1", "undeclared reference to 'eval'"),
        (f"{X} == 'it's'", "a quote inside a text"),
        ("'a' < 1", "no matching overload"),
        ("!1", "no matching overload"),
        ("'heads'", "it gives string, not true or false"),
        ("[1]", "not true or false"),
        ("99999999999999999999 == 1", "invalid int"),
        ("(" * 5000 + "true" + ")" * 5000, "recursion limit"),
        ("true" + " && true" * 20_000, "limit"),
        ("'\ud800' == 'a'", "surrogate"),
    ],
)
def test_malformed_condition_is_refused_when_it_is_read(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said) as caught:
        Condition(text)
    message = str(caught.value)
    assert len(message) < 700
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{X} < 1", "a"),
        (f"!{X}", 1),
        (f"{X} + 1 == 2", 1),  # a double and an integer: comparable, not addable
        (f"1 / int({X}) == 1", 0),
        (f"int({X}) == 1", "x"),
        ("inputs.parameter_values['missing'] == 1", 1),
        (f"{X}[2] == 1", [1]),
        (f"{X}.b == 1", {"a": 1}),
        (f"parseJson({X}) == 1", "{"),
        (f"parseJson({X}) == 1", "NaN"),
        (X, "neither"),
        (f"{X} == 'a'", "\ud800"),
        (f"{X} == 'a'", 10**400),
        ("[1,2,3,4,5,6,7,8,9].all(a, " * 6 + "true" + ")" * 6, 1),
    ],
)
def test_what_does_not_apply_fails_when_it_is_evaluated_in_one_line(text: str, value: Any) -> None:
    condition = Condition(text)
    with pytest.raises(ExpressionError) as caught:
        condition.holds({"pipelinechannel--x": value}, {})
    assert "\n" not in str(caught.value)


def test_one_side_that_settles_it_makes_up_for_an_error_on_the_other() -> None:
    assert holds("inputs.parameter_values['missing'] == 1 || true")
    assert not holds("false && inputs.parameter_values['missing'] == 1")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{X} == 'a' && inputs . parameter_values [ \"b\" ] == 1", ("pipelinechannel--x", "b")),
        ("inputs.parameter_values['a'] == \"inputs.parameter_values['b']\"", ("a",)),
        ("inputs.parameter_values['a'] == '\\'inputs.parameter_values[\"b\"]'", ("a",)),
        ("r'\\d' == inputs.parameter_values['a'] || '''inputs.parameter_values['b']''' == ''", ("a",)),
        ("true // inputs.parameter_values['b']", ()),
    ],
)
def test_parameters_of_a_condition_are_those_outside_of_texts_and_comments(text: str, names: tuple[str, ...]) -> None:
    assert Condition(text).parameters == names


JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)  # the first example loads the library
@given(JSON)
def test_selector_picks_what_json_holds(value: Any) -> None:
    for item in ({"a": {"b": value}}, json.dumps({"a": {"b": value}})):
        found = Selector('parseJson(string_value)["a"]["b"]').pick(item)
        assert found == value
        assert isinstance(found, bool) is isinstance(value, bool)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("string_value", "Hello", "Hello"),
        ("string_value", None, ""),
        ("string_value", 3.0, "3"),
        ("string_value", True, "true"),
        ("parseJson(string_value)[0]", "[1.1,1.2]", 1.1),
        ("parseJson(string_value)[0]", [2.0], 2),
        ("struct_value.nested.b", {"nested": {"b": "B"}}, "B"),
        ("list_value[1]", [1, "x\0y"], "x\0y"),
        ("number_value + 0.5", 1, 1.5),
        ("bool_value", True, True),
    ],
)
def test_selector_gives_what_the_driver_selects(text: str, value: Any, expected: Any) -> None:
    found = Selector(text).pick(value)
    assert (found, type(found)) == (expected, type(expected))


def test_keys_of_what_a_selector_picks_are_sorted() -> None:
    found = Selector("struct_value.a").pick({"a": {name: {"z": 1, "b": 2} for name in "qwertyuiop"}})
    assert list(found) == sorted("qwertyuiop")
    assert all(list(item) == ["b", "z"] for item in found.values())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("parseJson(string_value)", "invalidjson"),
        ("parseJson(string_value).a", "[1]"),
        ("parseJson(string_value)", "[" * 3000 + "]" * 3000),
        ("struct_value", "Hello"),
        ("struct_value.c", {"a": 1}),
        ("timestamp('2024-01-01T00:00:00Z')", "x"),
        ("{1: 2}", "x"),
        ("string_value", "\ud800"),
    ],
)
def test_selector_of_what_is_not_there_fails_in_one_line(text: str, value: Any) -> None:
    with pytest.raises(ExpressionError) as caught:
        Selector(text).pick(value)
    assert "\n" not in str(caught.value)


def test_condition_that_tries_to_take_forever_ends_soon() -> None:
    started = time.monotonic()
    assert not holds(f"{X}.matches('(((((a*)*)*)*)*)*b')", x="a" * 5000)
    assert time.monotonic() - started < 30


def test_the_library_is_loaded_only_when_there_is_an_expression() -> None:
    code = (
        "import sys, pipelines.runner.reading.reader; "
        "assert not {'cel_expr_python', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


DOUBLED = ".map(x, x + x)"


@pytest.mark.parametrize(
    "text",
    [
        f"[{X}]" + DOUBLED * 60 + f" == [{X}]",
        f"size([{X}]" + DOUBLED * 60 + ") == 1",
        "[1]"
        + ".map(a, [a, a, a, a, a, a, a, a].map(b, b))" * 1
        + f"{DOUBLED} == [{X}] || "
        + "".join(f"[0,1,2,3,4,5,6,7,8,9].all(v{level}, " for level in range(12))
        + "true"
        + ")" * 12,
        f"[{X}]" + ".//\nmap //\n(x, x + x)" * 28 + f" == [{X}]",
    ],
    ids=["memory", "memory inside", "time", "behind comments"],
)
def test_an_expression_that_takes_gigabytes_or_hours_is_one_line(text: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        holds(text, x="x" * 1000)
    assert "\n" not in str(refused.value)


def test_a_long_sum_of_a_large_value_is_bounded() -> None:
    with pytest.raises(ExpressionError):
        holds(f"size({' + '.join([X] * 300)}) == 1", x="x" * 2**23)


@pytest.mark.parametrize(
    "text", [f"size([{', '.join([X] * 2000)}]) == 1", f"{X}[0].matches('{'(x?){50}' * 200}')"], ids=["list", "pattern"]
)
def test_what_takes_long_does_so_in_a_child(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: object) -> None:
        raise OutOfBounds

    monkeypatch.setattr(expressions, "in_child", refuse)
    with pytest.raises(ExpressionError, match="it takes more than"):
        holds(text, x=["x" * 1000] * 10)
    assert holds(f"{X}[0] == 'y' || size({X}) == 10", x=["x" * 1000] * 10)


def test_loops_within_bounds_give_what_they_give_without() -> None:
    assert holds(f"{X}.map(i, i + 1.0) == [2.0, 3.0]", x=[1, 2])
    assert Selector("list_value.filter(i, i > 1.0)").pick([1, 2, 3]) == [2, 3]
    with pytest.raises(ExpressionError, match="there is no 'a'"):
        holds(f"{X}.map(i, i.a) == [1]", x=[{"b": 1}])
