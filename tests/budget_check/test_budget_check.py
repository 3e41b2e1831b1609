"""A budget that no recipe can meet is refused before anything is trained; one that can be met is not."""

import re

import pytest

from components.budget_check.component import budget_check
from components.budget_check.fitting import fitted_recipes
from components.budget_check.refusal import SLACK, refusal
from components.core.errors import UserError
from components.core.parameters.rules import fitting_needs_a_limit
from components.core.pruning.students import LEAST, Student, Students, smallest_recipe
from components.core.recipe import Recipe

RECIPES = [{"name": "90% MACs", "macs_fraction": 0.9}, {"name": "60% MACs", "macs_fraction": 0.6}]


@pytest.fixture
def network(make_bundle, save_bundle):
    return save_bundle(make_bundle("timm:test_efficientnet"))


def check(run_stage, network, name="check", **limits):
    return run_stage(budget_check, inputs={"model": network}, run_name=name, recipes=RECIPES, round_to=8, **limits)


def test_what_no_student_can_reach_is_refused_with_what_can_be_reached(run_stage, network):
    with pytest.raises(UserError) as latency:
        check(run_stage, network, "latency", max_latency_ms=1e-6)
    found = re.fullmatch(
        r"max_latency_ms 1e-06 cannot be met: tiny with the smallest recipe \(60% MACs\) takes (\S+) ms at batch 1 on "
        r"this machine, and (\S+) ms pruned as far as it can be\. Raise the limit, .*", str(latency.value),
    )  # fmt: skip
    assert found is not None
    assert float(found[1]) > 0
    with pytest.raises(
        UserError, match=r"max_size_mb 0\.001 cannot be met: tiny, pruned as far as it can be, has 0\.\d+ MB"
    ):
        check(run_stage, network, "size", max_size_mb=0.001)


def test_what_can_be_reached_passes_and_is_logged(run_stage, network):
    figures = check(run_stage, network, max_latency_ms=1000.0, max_size_mb=100.0)["metrics"].metadata
    assert 0 < figures["smallest_latency_ms"] < 1000
    assert 0.01 < figures["smallest_size_mb"] < 1


def test_without_a_limit_nothing_is_done(run_stage, network, capsys):
    assert check(run_stage, network)["metrics"].metadata == {"recipes": 2}
    assert "nothing to check" in capsys.readouterr().out


def test_the_students_are_as_small_as_asked_and_as_pruning_allows(make_bundle):
    students = Students(make_bundle("timm:test_efficientnet"), Recipe(name="r"), round_to=8, threads=1)
    whole, some, least = students.measured([1.0, 0.6, LEAST])
    assert whole.size_bytes > some.size_bytes > least.size_bytes


def test_the_smallest_recipe_keeps_the_least_and_sees_the_smallest_image():
    kept = [(1, 0), (0.5, 0), (0.5, 32)]
    recipes = [Recipe(name=str(n), macs_fraction=f, student_size=s) for n, (f, s) in enumerate(kept)]
    assert smallest_recipe(recipes).name == "2"


@pytest.mark.parametrize(("limit", "refused"), [(1.0 / SLACK - 0.01, True), (1.0 / SLACK + 0.01, False), (None, False)])
def test_only_what_is_missed_clearly_is_refused(limit, refused):
    student = Student(latency_ms=1.0, size_bytes=1000)
    asked = {"backbone": "b", "fits": False, "max_latency_ms": limit, "max_size_mb": None}
    assert bool(refusal(student, student, Recipe(name="r"), **asked)) == refused


@pytest.mark.parametrize(("megabytes", "refused"), [(0.39, True), (0.41, False), (1.0, False)])
def test_a_size_is_refused_only_where_nothing_that_pruning_leaves_is_smaller(megabytes, refused):
    """Pruning by importance leaves up to a third fewer parameters than even pruning."""
    asked, least = (Student(latency_ms=1.0, size_bytes=size) for size in (1_500_000, 400_000))
    said = refusal(
        asked, least, Recipe(name="r"), backbone="b", fits=False, max_latency_ms=None, max_size_mb=megabytes
    )  # fmt: skip
    assert bool(said) == refused


def linear(tried):
    """A network whose student of fraction f takes f milliseconds and f megabytes."""

    def measured(fractions):
        tried.extend(fractions)
        return [Student(latency_ms=one, size_bytes=int(one * 1e6)) for one in fractions]

    return measured


@pytest.mark.parametrize(
    "limits", [{"max_latency_ms": 0.5, "max_size_mb": None}, {"max_latency_ms": 9, "max_size_mb": 0.5}]
)
def test_recipes_keep_as_much_as_the_limits_leave_with_a_margin(limits):
    tried = []
    found = fitted_recipes(Recipe(name="r", student_size=48, more={"k": 1}), linear(tried), **limits)
    assert [one.macs_fraction for one in found] == [0.45, 0.4]  # at most 0.465 and 0.4
    assert [one.name for one in found] == ["45% MACs, 48 px", "40% MACs, 48 px"]
    assert all(one.more == {"k": 1} for one in found)
    assert len(tried) == len(set(tried)) <= 8


def test_where_all_fits_nothing_is_pruned_and_where_nothing_does_the_least_is_tried():
    found = fitted_recipes(Recipe(name="r"), linear([]), max_latency_ms=5.0, max_size_mb=None)
    assert [one.macs_fraction for one in found] == [1.0]
    found = fitted_recipes(Recipe(name="r"), linear([]), max_latency_ms=0.1, max_size_mb=None)
    assert [one.macs_fraction for one in found] == [0.15]


def test_the_stage_fits_recipes_to_a_size_by_real_students(run_stage, network, make_bundle):
    students = Students(make_bundle("timm:test_efficientnet"), Recipe(name="r"), round_to=8, threads=1)
    whole, least = students.measured([1.0, LEAST])
    limit = (whole.size_bytes + least.size_bytes) / 2e6
    returned = run_returning(run_stage, network, max_size_mb=limit, prune_to_fit=True)
    fractions = [one["macs_fraction"] for one in returned]
    assert 1 <= len(fractions) <= 2
    assert all(0.15 <= one < 1 for one in fractions)
    for one in students.measured(fractions):
        assert one.size_bytes <= 0.93 * limit * 1e6 or fractions == [0.15]


def run_returning(run_stage, network, **asked):
    """The recipes that the stage gives."""
    found = []

    class Returned:
        component_spec = budget_check.component_spec

        @staticmethod
        def python_func(**given):
            found.extend(budget_check.python_func(**given).recipes)

    run_stage(Returned, inputs={"model": network}, run_name="fit", recipes=RECIPES, round_to=8, **asked)
    return found


def test_a_fit_needs_a_limit_and_multiply_accumulates():
    with pytest.raises(UserError, match="prune_to_fit needs a limit: give max_latency_ms or max_size_mb"):
        fitting_needs_a_limit(True, -1.0, -1.0, "macs")
    with pytest.raises(UserError, match="prune_to_fit needs prune_price macs, got latency"):
        fitting_needs_a_limit(True, 1.0, -1.0, "latency")
    fitting_needs_a_limit(True, -1.0, 2.0, "macs")


def test_a_limit_below_the_least_student_is_refused_when_recipes_are_fitted(run_stage, network):
    with pytest.raises(
        UserError, match=r"max_size_mb 0\.001 cannot be met: tiny, pruned as far as it can be, has 0\.\d+ MB"
    ):
        check(run_stage, network, max_size_mb=0.001, prune_to_fit=True)
