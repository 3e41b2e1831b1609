import pytest

from components.core.errors import UserError
from pipelines.runner.ir.parameters import from_text, pipeline_parameters, typed
from pipelines.runner.ir.pipeline import MISSING, Parameter

DECLARED = {
    "epochs": Parameter(type="NUMBER_INTEGER", default=3, optional=True),
    "rate": Parameter(type="NUMBER_DOUBLE", default=0.1, optional=True),
    "limit": Parameter(type="NUMBER_DOUBLE", optional=True),
    "dataset": Parameter(type="STRING", description="Where the images are."),
    "targets": Parameter(type="LIST", default=[0.9], optional=True),
    "schedule": Parameter(type="STRING", default="cosine", optional=True, literals=("cosine", "step")),
}


def values(**given: object) -> dict[str, object]:
    return pipeline_parameters(DECLARED, {"dataset": "demo", **given})


def test_integers_stay_integers_and_numbers_become_floats() -> None:
    found = values(epochs="7", rate="1")
    assert (found["epochs"], type(found["epochs"])) == (7, int)
    assert (found["rate"], type(found["rate"])) == (1.0, float)
    assert type(typed(1.0, "NUMBER_INTEGER", "x")) is int


def test_numbers_without_fraction_inside_lists_and_structs_are_integers() -> None:
    found = typed({"a": 1.0, "b": [2.0, 2.5]}, "STRUCT", "x")
    assert found == {"a": 1, "b": [2, 2.5]}
    assert type(found["a"]) is int
    assert type(found["b"][0]) is int


def test_an_optional_parameter_given_as_empty_is_not_given() -> None:
    assert "limit" not in values(limit="")
    assert values(epochs="")["epochs"] == 3


@pytest.mark.parametrize(("text", "expected"), [("0.9, 0.8", [0.9, 0.8]), ("[0.5]", [0.5]), ("a,b", ["a", "b"])])
def test_a_list_is_json_or_separated_by_commas(text: str, expected: list[object]) -> None:
    assert values(targets=text)["targets"] == expected


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("No", False), ("1", True), ("off", False)])
def test_booleans_are_read_as_people_write_them(text: str, expected: bool) -> None:
    assert from_text(text, Parameter(type="BOOLEAN"), "flag") is expected


def test_a_text_that_looks_like_a_number_stays_text() -> None:
    assert values(dataset="007")["dataset"] == "007"


def test_unknown_parameter_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown parameter 'epoch'; did you mean 'epochs'"):
        values(epoch="1")


def test_missing_parameter_is_named_with_type_and_description() -> None:
    with pytest.raises(UserError, match=r"dataset \(text: Where the images are\.\)"):
        pipeline_parameters(DECLARED, {})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("epochs", "many", "an integer, got 'many'"),
        ("epochs", "1.5", "an integer, got '1.5'"),
        ("rate", "nan", "a number, got 'nan'"),
        ("rate", "inf", "a number, got 'inf'"),
        ("targets", "[1", "a list"),
        ("targets", '[1, "', "a list"),
        ("schedule", "cosin", 'one of "cosine", "step"'),
    ],
)
def test_wrong_value_names_parameter_type_and_value(name: str, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        values(**{name: text})
    assert said in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_integers_beyond_the_exact_floats_keep_every_digit() -> None:
    assert values(epochs="9007199254740993")["epochs"] == 9007199254740993


def test_a_default_of_none_means_no_default() -> None:
    assert DECLARED["limit"].default is MISSING
    assert "limit" not in values()


@pytest.mark.parametrize(
    "text", ["[" * 150 + "]" * 150, "[" * 5000 + "]" * 5000, '["\\ud800"]', "[NaN]", "[1e999, Infinity]"]
)
def test_list_that_cannot_be_passed_on_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(UserError, match="'targets'") as caught:
        values(targets=text)
    assert len(str(caught.value)) < 350
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["\udcff", "caf\udce9"])
def test_text_that_is_no_utf_8_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"'dataset' holds something that is not UTF-8 text: '.*\\udc"):
        values(dataset=text)


def test_integer_beyond_every_double_is_refused_where_a_number_is_wanted() -> None:
    for kind in ("NUMBER_DOUBLE", "NUMBER_INTEGER"):
        with pytest.raises(UserError, match="x must be a"):
            typed(10**400, kind, "x")
