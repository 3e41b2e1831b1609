"""A budget that no recipe can meet is refused before anything is trained; one that can be met is not."""

import re

import pytest

from components.budget_check.component import budget_check
from components.budget_check.refusal import SLACK, refusal
from components.budget_check.students import Student, make_students, smallest_recipe
from components.core.errors import UserError
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
        r"max_latency_ms 1e-06 cannot be met: tiny by the smallest recipe \(60% MACs\) takes (\S+) ms at batch 1 on "
        r"this machine; pruned as far as it can be (\S+)\. Allow more, .*", str(latency.value),
    )  # fmt: skip
    assert found is not None
    assert float(found[1]) > 0
    with pytest.raises(UserError, match=r"max_size_mb 0\.001 cannot be met: tiny by .* has 0\.\d+ MB; pruned as far"):
        check(run_stage, network, "size", max_size_mb=0.001)


def test_what_can_be_reached_passes_and_is_logged(run_stage, network):
    figures = check(run_stage, network, max_latency_ms=1000.0, max_size_mb=100.0)["metrics"].metadata
    assert 0 < figures["smallest_latency_ms"] < 1000
    assert 0.01 < figures["smallest_size_mb"] < 1


def test_without_a_limit_nothing_is_done(run_stage, network, capsys):
    assert check(run_stage, network)["metrics"].metadata == {}
    assert "nothing to check" in capsys.readouterr().out


def test_the_students_are_as_small_as_the_recipe_asks_and_as_pruning_allows(make_bundle):
    bundle = make_bundle("timm:test_efficientnet")
    sizes = {}
    for fraction in (1.0, 0.6):
        recipe = Recipe(name="r", macs_fraction=fraction)
        asked, least = make_students(bundle, recipe, round_to=8, threads=1)
        sizes[fraction] = asked.size_bytes
        assert least.size_bytes < asked.size_bytes
    assert sizes[0.6] < sizes[1.0]


def test_the_smallest_recipe_keeps_the_least_and_sees_the_smallest_image():
    recipes = [
        Recipe(name=str(n), macs_fraction=f, student_size=s) for n, (f, s) in enumerate([(1, 0), (0.5, 0), (0.5, 32)])
    ]
    assert smallest_recipe(recipes).name == "2"


@pytest.mark.parametrize(("limit", "refused"), [(1.0 / SLACK - 0.01, True), (1.0 / SLACK + 0.01, False), (None, False)])
def test_only_what_is_missed_clearly_is_refused(limit, refused):
    student = Student(latency_ms=1.0, size_bytes=1000)
    said = refusal(student, student, Recipe(name="r"), backbone="b", max_latency_ms=limit, max_size_mb=None)
    assert bool(said) == refused
