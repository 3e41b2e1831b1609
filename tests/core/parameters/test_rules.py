"""Ranges, limits, and the rules between two parameters."""

import math
from typing import Any, cast

import pytest

from components.core.errors import UserError
from components.core.parameters import DECLARED, NO_LIMIT, Range, check_between, check_declared, limit
from components.core.training.device import deterministic
from components.core.training.ranks import Ranks


@pytest.mark.parametrize(
    ("rule", "inside", "outside", "words"),
    [
        (Range(low=0), [0, 7], [-1e-9], "at least 0"),
        (Range(low=0, above=True), [1e-9], [0], "greater than 0"),
        (Range(low=0, high=1), [0, 1], [-0.1, 1.1], "between 0 and 1"),
        (Range(low=0, high=1, above=True), [0.1, 1], [0, 1.1], "greater than 0 and at most 1"),
        (Range(low=0, high=1, below=True), [0, 0.9], [1], "at least 0 and less than 1"),
        (Range(low=0, high=1, above=True, below=True), [0.5], [0, 1], "greater than 0 and less than 1"),
        (Range(low=0, high=4294967295), [0, 4294967295], [4294967296], "between 0 and 4294967295"),
        (Range(low=16, high=32, also={0: "any"}), [0, 16, 32], [1, 15, 33], "between 16 and 32, or 0 for any"),
    ],
)
def test_a_range_holds_its_borders_or_leaves_them_out_and_says_so(rule, inside, outside, words):
    assert [value for value in inside if not rule.holds(value)] == []
    assert [value for value in outside if rule.holds(value)] == []
    assert rule.words == words


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None])
def test_what_is_no_finite_number_is_in_no_range(value):
    assert not Range(low=-math.inf).holds(value)


def test_no_limit_is_a_value_that_means_nothing_else():
    assert limit(NO_LIMIT) is None
    assert limit(0.0) == 0.0
    for name in ("max_latency_ms", "max_size_mb", "max_parameters_m", "max_macs_m", "max_backbone_latency_ms"):
        assert DECLARED[name].check(-1) == NO_LIMIT
        for value in (0, -2, -0.5):
            with pytest.raises(UserError, match=f"{name} must be greater than 0, or -1 for no limit; got {value}"):
                DECLARED[name].check(value)
    assert DECLARED["max_drop"].check(0) == 0.0


def test_a_seed_that_torch_cannot_take_is_refused_and_the_largest_works():
    with pytest.raises(UserError, match="seed must be between 0 and 4294967295; got 4294967296"):
        DECLARED["seed"].check(2**32)
    largest = DECLARED["seed"].check(2**32 - 1)
    with deterministic(largest):
        Ranks(control=cast("Any", "several")).seed_step(largest, 10**9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_processes": 3, "batch_size": 64}, "num_processes must be a divisor of batch_size 64; got 3"),
        ({"num_processes": 3, "batch_size": 64, "batch_tokens": 0}, "num_processes must be a divisor of batch_size 64"),
        ({"num_processes": 2, "batch_norm": "train"}, "batch_norm must be frozen with several processes; got 'train'"),
        ({"accumulation_steps": 2, "batch_norm": "train"}, "batch_norm must be frozen with accumulation_steps above 1"),
        ({"validation_fraction": 0.45, "test_fraction": 0.5}, "leave 5% of the data for training"),
        ({"student_size": 96, "image_size": 64}, "student_size 96 is larger than image_size 64"),
        ({"inference": "whole", "image_size": 100}, "inference whole needs an image_size that is a multiple of 32"),
        ({"label_shift": 0.5, "large_label_shift": 0.3}, "label_shift 0.5 must be at most large_label_shift 0.3"),
        ({"feature_drift": 0.9, "large_feature_drift": 0.8}, "feature_drift 0.9 must be at most large_feature_drift"),
    ],
)
def test_a_rule_between_two_parameters_names_both(values, message):
    with pytest.raises(UserError, match=message):
        check_between(values)
    first, second, *_ = values
    for one in (first, second):
        check_between({one: values[one]})  # nothing to compare with


def test_rules_between_parameters_let_their_borders_pass():
    check_between({"num_processes": 1, "batch_size": 7, "batch_norm": "train"})
    check_between({"num_processes": 8, "batch_size": 64, "batch_norm": "frozen"})
    check_between({"num_processes": 3, "batch_size": 64, "batch_tokens": 4000})  # shares of these may be unequal
    check_between({"validation_fraction": 0.4, "test_fraction": 0.5})
    check_between({"student_size": 64, "image_size": 64})
    check_between({"student_size": 96, "image_size": 0})  # the backbone's own size is not known yet
    check_between({"label_shift": 0.3, "large_label_shift": 0.3})
    check_between({"inference": "whole", "image_size": 0})
    check_between({"inference": "whole", "image_size": 96})


def test_images_that_keep_their_resolution_need_a_student_of_their_teachers_size():
    for inference in ("sliding", "whole"):
        with pytest.raises(UserError, match=f"student_size 64 needs inference resize, got {inference}"):
            check_between({"inference": inference, "image_size": 96, "student_size": 64})
        check_between({"inference": inference, "image_size": 96, "student_size": 0})
        check_between({"inference": inference, "image_size": 96, "student_size": 96})
    check_between({"inference": "resize", "image_size": 96, "student_size": 64})


def test_a_stage_may_call_a_parameter_by_a_shorter_name():
    check_declared({"threads": 2, "anything": object()}, threads="latency_threads")
    with pytest.raises(UserError, match=r"^threads must be at least 1; got 0$"):
        check_declared({"threads": 0}, threads="latency_threads")
