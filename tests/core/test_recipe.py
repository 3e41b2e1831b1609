import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UserError
from components.core.recipe import Recipe


@given(
    fraction=st.floats(min_value=0, max_value=1, exclude_min=True),
    size=st.sampled_from([0, 16, 48, 2048]),
    more=st.dictionaries(st.sampled_from(["blocks", "sparsity"]), st.integers() | st.booleans()),
)
def test_a_recipe_comes_back_from_json_with_what_a_technique_added(fraction, size, more):
    recipe = Recipe(name="r", macs_fraction=fraction, student_size=size, more=more)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert set(more) <= set(recipe.to_json())


def test_numbers_that_lost_their_point_on_the_way_are_the_same_recipe():
    assert Recipe.from_json({"name": "r", "macs_fraction": 1, "student_size": 48.0}) == Recipe(
        name="r", macs_fraction=1.0, student_size=48
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a recipe is an object with a name; got []"),
        ({"macs_fraction": 0.5}, "a recipe needs a name; got {'macs_fraction': 0.5}"),
        ({"name": " "}, "a recipe needs a name; got ' '"),
        ({"name": "r", "macs_fraction": 0}, "macs_fraction must be greater than 0 and at most 1; got 0"),
        (
            {"name": "r", "student_size": 8},
            "student_size must be between 16 and 2048, or 0 for the teacher's size; got 8",
        ),
        ({"name": "r", "scheme": "int9"}, "scheme must be one of int8, float32; got 'int9'; did you mean 'int8'?"),
    ],
)
def test_what_is_no_recipe_is_refused_by_what_is_wrong(content, message):
    with pytest.raises(UserError) as caught:
        Recipe.from_json(content)
    assert str(caught.value) == message


def test_a_technique_cannot_hide_a_second_value_of_a_field():
    with pytest.raises(UserError, match="'scheme' twice"):
        Recipe(name="r", more={"scheme": "float32"})
