"""The evaluation's own account of its timing."""

import pytest

from components.core.runtime.latency import Measurement
from components.core.runtime.ratio import Ratio
from components.evaluate.latency import timing_warnings


def measurement(*, low=1.98, high=2.02, busy_blocks=0):
    ratio = Ratio(value=2.0, low=low, high=high, pairs=24)
    return Measurement(latencies={}, ratios={"candidate": ratio}, blocks=48, busy_blocks=busy_blocks)


def test_a_quiet_machine_and_a_well_known_ratio_give_no_warning():
    assert timing_warnings(1, measurement()) == []


def test_a_busy_machine_is_named_with_how_often():
    (said,) = timing_warnings(32, measurement(busy_blocks=5))
    assert said.startswith("Latency at batch 32: in 5 of 48 blocks of calls CPU time stayed more than 10 % below wall")


@pytest.mark.parametrize(("low", "high"), [(1.8, 2.01), (1.99, 2.2)])
def test_a_ratio_that_is_not_known_well_enough_is_named_with_its_interval(low, high):
    (said,) = timing_warnings(1, measurement(low=low, high=high))
    assert f"({low:.2f} to {high:.2f} after 24 pairs of blocks), not to ±3 %" in said


def test_a_ratio_that_is_just_not_known_well_enough_does_not_read_as_if_it_were():
    (said,) = timing_warnings(1, measurement(low=1.938, high=2.02))
    assert "known to ±3.2 % only" in said
