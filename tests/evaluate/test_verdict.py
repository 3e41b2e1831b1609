"""The budget and the verdict."""

import pytest

from components.core.budget import Budget
from components.core.errors import UserError
from components.evaluate.verdict import judge


def test_no_limit_is_always_met():
    assert judge(Budget(), latency_ms=1e9, size_bytes=10**12, difference_points=-99) == {"meets": True, "checks": []}


def test_each_limit_is_checked_and_one_missed_limit_decides():
    verdict = judge(
        Budget(max_latency_ms=2.0, max_size_mb=4.0, max_drop=1.5),
        latency_ms=2.0,
        size_bytes=4_000_001,
        difference_points=-1.5,
    )
    assert not verdict["meets"]
    assert {check["limit"]: check["met"] for check in verdict["checks"]} == {
        "max_latency_ms": True,
        "max_size_mb": False,
        "max_drop": True,
    }


def test_a_better_candidate_has_dropped_by_nothing():
    check = judge(Budget(max_drop=0.0), latency_ms=1, size_bytes=1, difference_points=0.7)["checks"][0]
    assert check == {"limit": "max_drop", "allowed": 0.0, "measured": 0.0, "met": True}


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_latency_ms", 0.0), ("max_size_mb", -1.0), ("max_drop", -0.1), ("max_drop", float("nan"))],
)
def test_an_impossible_limit_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        Budget(**{name: value})
