"""Conditions that the SDK compiles, run: which branch was taken, for values that are hard to write down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
import yaml
from conftest import Ran
from kfp import dsl

from components.core.errors import UserError

Run = Callable[..., Ran]

AWKWARD = [
    "it's", 'say "hi"', "both ' and \"", "back\\slash\\", "two\nlines\tand a tab", "' == '' || true || '",
    "ümlaut 😀 \u2028", "a\0b", "",
]  # fmt: skip


def test_two_texts_compare_whatever_they_hold(run: Run) -> None:
    @dsl.pipeline(name="pairs")
    def pairs(pairs: list[dict[str, str]]):
        with dsl.ParallelFor(pairs) as pair, dsl.If(pair.left == pair.right):
            c.text(value=pair.left)

    given = [{"left": text, "right": other} for text in AWKWARD for other in (text, f"{text}'", text[:1])]
    ran = run(pairs, pairs=given)
    taken = sorted(task.output_parameters["Output"] for task in ran.result.tasks if task.task.endswith("/text"))
    assert taken == sorted(pair["left"] for pair in given if pair["left"] == pair["right"])


def test_two_parameters_of_a_pipeline_compare(run: Run) -> None:
    @dsl.pipeline(name="same")
    def same(left: str, right: str) -> str:
        with dsl.If(left == right):
            a = c.text(value="equal")
        with dsl.Else():
            b = c.text(value="different")
        return dsl.OneOf(a.output, b.output)

    assert run(same, left="it's \\", right="it's \\").result.outputs == {"Output": "equal"}
    assert run(same, left="' == '' || true || '", right="x").result.outputs == {"Output": "different"}


@pytest.mark.parametrize("text", ['say "hi"', "a || true", "ümlaut 😀"])
def test_constant_text_in_a_condition_is_the_text(run: Run, text: str) -> None:
    @dsl.pipeline(name="constant")
    def constant(given: str):
        with dsl.If(given == text):
            c.add(a=1)

    assert run(constant, given=text).statuses()["condition-1/add"] == "succeeded"
    assert run(constant, given=text + "x").statuses()["condition-1"] == "skipped"


def test_a_quote_that_the_sdk_does_not_escape_is_refused_before_the_run(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="quoted")
    def quoted(given: str):
        with dsl.If(given == "it's"):
            c.add(a=1)

    with pytest.raises(UserError, match=r"tasks\.condition-1.*a quote inside a text written without a backslash"):
        run(quoted, given="it's")
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize(
    ("number", "ratio", "branch"),
    [
        (4, 0.0, "large"),
        (3, 0.5, "half"),
        (3, 1.0, "whole"),
        (2, 1.0, "whole"),
        (2, 0.3, "two, small"),
        (1, 0.3, "rest"),
    ],
)
def test_branches_nest_and_integers_and_floats_compare(run: Run, number: int, ratio: float, branch: str) -> None:
    @dsl.pipeline(name="branches")
    def branches(number: int, ratio: float) -> str:
        with dsl.If(number > 3):
            a = c.text(value="large")
        with dsl.Elif(ratio == 0.5):
            b = c.text(value="half")
        with dsl.Elif(ratio >= 1):
            d = c.text(value="whole")
        with dsl.Else():
            with dsl.If(number == 2.0):
                e = c.text(value="two, small")
            with dsl.Else():
                f = c.text(value="rest")
            inner = c.text(value=dsl.OneOf(e.output, f.output))
        return dsl.OneOf(a.output, b.output, d.output, inner.output)

    assert run(branches, number=number, ratio=ratio).result.outputs == {"Output": branch}


@pytest.mark.parametrize("go", [True, False])
def test_booleans_of_parameters_and_outputs_compare(run: Run, go: bool) -> None:
    @dsl.pipeline(name="booleans")
    def booleans(go: bool, names: list[str] = ["a"]):  # noqa: B006
        flags = c.several(flag=go, ratio=1.0, names=names, table={"a": 1})
        with dsl.If(go == True):  # noqa: E712  (KFP's condition, not Python's)
            c.add(a=1)
        with dsl.If(flags.outputs["yes"] == False):  # noqa: E712
            c.add(a=2)

    adding = {"condition-1/add": "succeeded", "condition-2/add-2": "succeeded"}
    skipping = {"condition-1": "skipped", "condition-2": "skipped"}
    assert run(booleans, go=go).statuses() == {"several": "succeeded", **(adding if go else skipping)}


def with_condition(path: Path, condition: str) -> Path:
    spec = yaml.safe_load(path.read_text())
    spec["root"]["dag"]["tasks"]["condition-1"]["triggerPolicy"]["condition"] = condition
    path.write_text(yaml.safe_dump(spec))
    return path


@c.component
def take(xs: list, table: dict) -> int:
    return len(xs) + len(table)


@pytest.fixture
def shaped(compiled: Callable[..., Path]) -> Callable[[str], Path]:
    """A pipeline with a list and a struct, whose condition is replaced: the SDK compares only plain values."""

    @dsl.pipeline(name="shaped")
    def shaped(n: int, xs: list = [1, "it's", 2.5], table: dict = {"a": {"b": 2.5}}):  # noqa: B006
        with dsl.If(n == 0):
            take(xs=xs, table=table)

    return lambda condition: with_condition(compiled(shaped), condition)


N, XS, TABLE = (f"inputs.parameter_values['pipelinechannel--{name}']" for name in ("n", "xs", "table"))


@pytest.mark.parametrize(
    "condition",
    [
        f"{XS} == [1, 'it\\'s', 2.5] && {TABLE} == {{'a': {{'b': 2.5}}}}",
        f'{XS}[1] == "it\'s" && {TABLE}.a.b > 2',
        f"!({XS} == []) && (size({XS}) == 2 || size({XS}) == 3) && !('z' in {TABLE})",
        f"{XS} != {TABLE} && int({N}) == 7 && {N} == 7.0",
    ],
)
def test_lists_and_structs_compare_by_value(run: Run, shaped: Callable[[str], Path], condition: str) -> None:
    assert run(shaped(f"!({condition})"), n=7).statuses() == {"condition-1": "skipped"}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (f"{N} ==", "Syntax error"),
        (f"int({N}) + 1", "it gives int, not true or false"),
        ("inputs.parameter_values['pipelinechannel--m'] == 1", "asks for the input 'pipelinechannel--m'"),
        (f"eval({N})", "undeclared reference to 'eval'"),
        ("outputs.parameters['x'] == 1", "undeclared reference to 'outputs"),
        ("'a' == 1", "no matching overload"),
    ],
)
def test_malformed_conditions_are_refused_before_the_run(
    run: Run, shaped: Callable[[str], Path], tmp_path: Path, condition: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        run(shaped(condition), n=7)
    assert "condition-1" in str(caught.value)
    assert not (tmp_path / "home" / "runs").exists()


def test_condition_that_fails_with_its_value_fails_its_task_in_one_line(
    run: Run, shaped: Callable[[str], Path]
) -> None:
    ended: Any = run(shaped(f"{XS} > 1"), n=7).ended("condition-1")
    assert ended.status == "failed"
    assert "the condition cannot be evaluated" in ended.error
    assert "\n" not in ended.error
