import pytest

from components.core.errors import UserError
from components.preflight import plan


def test_a_limit_that_is_not_given_is_no_limit():
    plan.check_values({"max_latency_ms": None, "max_size_mb": None, "max_drop": None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_latency_ms", 0),
        ("max_latency_ms", -1.0),
        ("max_size_mb", 0.0),
        ("max_drop", -0.1),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("distill_alpha", 1.01),
        ("distill_temperature", 0.0),
        ("label_smoothing", 1.0),
        ("layer_decay", 0.0),
        ("image_size", 8),
        ("seed", -1),
        ("num_processes", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_value(name, value):
    with pytest.raises(UserError, match=rf"^{name} must be .*got {value!r}"):
        plan.check_values({name: value})


@pytest.mark.parametrize("name", sorted(plan.CHOICES))
def test_each_choice_is_accepted_and_an_unknown_one_refused_with_the_list(name):
    for value in plan.CHOICES[name]:
        plan.check_values({name: value})
    with pytest.raises(UserError, match=plan.CHOICES[name][0]):
        plan.check_values({name: "no-such-word"})


def test_a_near_miss_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'polynomial'"):
        plan.check_values({"schedule": "polinomial"})


def test_a_zero_drop_budget_is_a_budget():
    plan.check_values({"max_drop": 0.0})


def test_recipes_come_largest_first_and_carry_what_the_stages_need():
    recipes = plan.plan_recipes([0.6, 0.8], student_size=48, image_size=64)
    assert [r.to_json() for r in recipes] == [
        {"name": "80% MACs, 48 px", "macs_fraction": 0.8, "student_size": 48},
        {"name": "60% MACs, 48 px", "macs_fraction": 0.6, "student_size": 48},
    ]


@pytest.mark.parametrize("targets", [[], [0], [1.2], [0.5, 0.5], ["a"], [True], [0.5] * 17])
def test_prune_targets_that_cannot_work_are_refused(targets):
    with pytest.raises(UserError, match="prune_targets"):
        plan.plan_recipes(targets, student_size=0, image_size=64)


def test_a_student_larger_than_its_teacher_is_refused():
    with pytest.raises(UserError, match="student_size 96 is larger than image_size 64"):
        plan.plan_recipes([0.5], student_size=96, image_size=64)


def test_splits_that_leave_no_training_data_are_refused():
    plan.check_fractions(validation_fraction=0.4, test_fraction=0.5)
    with pytest.raises(UserError, match="leave 5% of the data"):
        plan.check_fractions(validation_fraction=0.45, test_fraction=0.5)


def test_a_size_budget_below_any_int8_model_is_refused_and_a_tight_one_is_not():
    parameters = {"small": 4_500_000, "large": 9_000_000}
    # 4.5 M · 2/3 · 0.5² bytes = 0.75 MB
    plan.check_size_budget(max_size_mb=0.76, parameters=parameters, prune_targets=[0.8, 0.5])
    with pytest.raises(UserError, match=r"max_size_mb 0.74 cannot be met: the smallest candidate, small"):
        plan.check_size_budget(max_size_mb=0.74, parameters=parameters, prune_targets=[0.8, 0.5])


def test_an_unknown_parameter_count_is_never_called_impossible():
    plan.check_size_budget(max_size_mb=0.01, parameters={"a": None, "b": 10**9}, prune_targets=[1.0])


def test_names_are_distinct_and_at_least_one():
    assert plan.distinct_names([" a", "b", "a", ""]) == ["a", "b"]
    with pytest.raises(UserError, match="backbones is empty"):
        plan.distinct_names([" "])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 3, "batch_norm": "frozen"}, "num_processes must be a divisor of batch_size 64; got 3"),
        ({"num_processes": 2, "batch_norm": "train"}, "batch_norm must be frozen with several processes; got 'train'"),
    ],
)
def test_processes_that_cannot_share_a_batch_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        plan.check_processes(**given, batch_size=64)


def test_one_process_may_do_what_several_may_not():
    plan.check_processes(1, batch_size=7, batch_norm="train")
    plan.check_processes(8, batch_size=64, batch_norm="frozen")
