import pytest

from components.core.errors import UserError
from components.core.recipe import Recipe
from components.preflight import plan


def test_recipes_come_largest_first_and_carry_what_the_stages_need():
    assert plan.plan_recipes([0.6, 0.8], student_size=48) == [
        Recipe(name="80% MACs, 48 px", macs_fraction=0.8, student_size=48, scheme="int8"),
        Recipe(name="60% MACs, 48 px", macs_fraction=0.6, student_size=48, scheme="int8"),
    ]


def test_a_recipe_is_named_after_what_its_target_is_a_part_of():
    (recipe,) = plan.plan_recipes([0.7], student_size=0, price="latency")
    assert (recipe.name, recipe.macs_fraction) == ("70% latency", 0.7)


@pytest.mark.parametrize("targets", [[], [0.5, 0.5], [0.5] * 17])
def test_prune_targets_that_cannot_work_are_refused(targets):
    with pytest.raises(UserError, match="prune_targets"):
        plan.plan_recipes(targets, student_size=0)


def test_a_size_budget_below_any_int8_model_is_refused_and_a_tight_one_is_not():
    parameters = {"small": 4_500_000, "large": 9_000_000}
    # 4.5 M · 2/3 · 0.5² bytes = 0.75 MB
    plan.check_size_budget(max_size_mb=0.76, parameters=parameters, prune_targets=[0.8, 0.5])
    with pytest.raises(
        UserError, match=r"max_size_mb 0.74 cannot be met: even with .* of its MACs, the smallest backbone, small"
    ):
        plan.check_size_budget(max_size_mb=0.74, parameters=parameters, prune_targets=[0.8, 0.5])


def test_an_unknown_parameter_count_is_never_called_impossible():
    plan.check_size_budget(max_size_mb=0.01, parameters={"a": None, "b": 10**9}, prune_targets=[1.0])


def test_names_are_distinct_and_at_least_one():
    assert plan.distinct_names([" a", "b", "a", ""]) == ["a", "b"]
    with pytest.raises(UserError, match="backbones is empty"):
        plan.distinct_names([" "])


def test_each_part_of_the_data_is_named_and_numbered():
    assert plan.plan_parts(1) == [{"name": "part 1 of 1", "number": 0, "of": 1}]
    assert [(one["name"], one["number"]) for one in plan.plan_parts(3)] == [
        ("part 1 of 3", 0), ("part 2 of 3", 1), ("part 3 of 3", 2),
    ]  # fmt: skip
