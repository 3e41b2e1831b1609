"""Latency: alternating blocks, what is dropped of them, busy machines, and the ratio; on a clock of the tests' own."""

import numpy as np
import pytest

from components.core.runtime import latency
from components.core.runtime.latency import (
    ATTEMPTS,
    MOST_PAIRS,
    PAIRS,
    Latency,
    measure,
    measure_calls,
    measure_rows,
    noise_input,
)
from components.core.runtime.sessions import open_session

MS = 1_000_000


class Machine:
    """A clock in nanoseconds, and models whose first calls after another one take longer.

    `wall_only(call number)` is a time in ms in which the process waits; `speed(call number)` multiplies all times.
    """

    def __init__(self):
        self.now = self.cpu = 0
        self.ran = []
        self.wall_only = lambda number: 0.0
        self.speed = lambda number: 1.0

    def perf_counter_ns(self):
        return self.now

    def process_time_ns(self):
        return self.cpu

    def model(self, name, ms, *, refill=()):
        """Takes `ms`, and `refill[n]` more in the n-th call after a call of another model."""

        def call():
            since = next((n for n, ran in enumerate(reversed(self.ran)) if ran != name), len(self.ran))
            spent = round(MS * self.speed(len(self.ran)) * (ms + (refill[since] if since < len(refill) else 0)))
            self.cpu += spent
            self.now += spent + round(MS * self.wall_only(len(self.ran)))
            self.ran.append(name)

        return call

    def blocks(self):
        """`[(name, calls), …]` of what ran."""
        found = []
        for name in self.ran:
            if found and found[-1][0] == name:
                found[-1][1] += 1
            else:
                found.append([name, 1])
        return [tuple(block) for block in found]


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(latency, "time", machine)
    return machine


def measured(calls, **changes):
    return measure_calls(calls, **{"threads": 1, "batch": 1, "rounds": 56, **changes})


def test_a_model_is_timed_as_if_it_ran_alone(machine):
    found = measured({
        "large": machine.model("large", 1.1, refill=(0.5, 0.3, 0.2)),
        "small": machine.model("small", 0.44, refill=(0.5, 0.3, 0.2, 0.1)),
    })  # fmt: skip
    assert found.latencies["large"].p50_ms == pytest.approx(1.1)
    assert found.latencies["small"].p50_ms == found.latencies["small"].p90_ms == pytest.approx(0.44)
    assert found.ratios["small"].value == pytest.approx(2.5)


def test_the_first_call_after_another_model_is_the_cold_one(machine):
    found = measured({
        "large": machine.model("large", 1.1, refill=(0.5,)), "small": machine.model("small", 0.44, refill=(0.5,)),
    })  # fmt: skip
    assert found.latencies["large"].cold_ms == pytest.approx(1.6)
    assert found.latencies["small"].cold_ms == pytest.approx(0.94)
    assert measured({"only": machine.model("only", 1.0)}).latencies["only"].cold_ms is None


def test_blocks_alternate_and_quick_calls_are_dropped_more_often(machine):
    found = measured({"a": machine.model("a", 20.0), "b": machine.model("b", 0.5)})
    assert machine.blocks() == [("a", 3), ("b", 3), *[("a", 1 + 7), ("b", 8 + 7)] * PAIRS]
    assert found.latencies["a"].samples == found.latencies["b"].samples == 56
    assert found.blocks == 2 * PAIRS


def test_drift_of_the_machine_cancels_in_the_ratio(machine):
    machine.speed = lambda number: 1 + number / 1000  # a fifth slower at the end; A A … B B … would give 1.83
    found = measured({"a": machine.model("a", 2.0), "b": machine.model("b", 1.0)})
    assert len(machine.ran) > 180
    assert found.ratios["b"].value == pytest.approx(2.0, rel=0.015)


def test_a_busy_block_is_measured_again(machine):
    calls = {"a": machine.model("a", 4.0), "b": machine.model("b", 4.0)}
    quiet = measured(calls)
    machine.ran.clear()
    machine.wall_only = lambda number: 3.0 if 25 <= number < 33 else 0.0  # within one block's timed calls, most of them
    found = measured(calls)
    assert len(machine.ran) == 2 * 3 + 2 * PAIRS * (2 + 7) + (2 + 7)
    assert found.busy_blocks == 0
    assert found.latencies["b"].p90_ms == quiet.latencies["b"].p90_ms == pytest.approx(4.0)


def test_a_machine_that_stays_busy_is_reported_after_a_bounded_number_of_attempts(machine):
    machine.wall_only = lambda number: 0.5
    found = measured({"a": machine.model("a", 4.0), "b": machine.model("b", 10.0)})
    assert found.busy_blocks == PAIRS  # 0.5 of 4.5 ms is more than a tenth, 0.5 of 10.5 is not
    assert found.blocks == 2 * PAIRS
    assert machine.ran.count("a") == 3 + PAIRS * ATTEMPTS * (2 + 7)


def test_pairs_are_added_until_the_ratio_is_known(machine):
    noise = np.random.default_rng(0).uniform(0.9, 1.1, 10_000)
    machine.speed = lambda number: noise[number // 9]
    found = measured({"a": machine.model("a", 4.0), "b": machine.model("b", 2.0)})
    assert PAIRS < found.ratios["b"].pairs <= MOST_PAIRS
    assert found.blocks == 2 * found.ratios["b"].pairs
    machine.ran.clear()
    fixed = measured({"a": machine.model("a", 4.0), "b": machine.model("b", 2.0)}, precision=None)
    assert fixed.ratios["b"].pairs == PAIRS
    assert fixed.ratios["b"].precision > 0.03


def test_a_slow_model_is_not_measured_for_longer_than_its_fewest_blocks_take(machine):
    noise = np.random.default_rng(0).uniform(0.5, 1.5, 10_000)
    machine.speed = lambda number: noise[number]
    found = measured({"a": machine.model("a", 4000.0), "b": machine.model("b", 2000.0)}, rounds=1)
    assert found.ratios["b"].pairs == PAIRS


def test_each_variant_gets_its_own_input():
    calls = []

    class Recording:
        def __init__(self, name):
            self.name = name

        def run(self, _, feed):
            calls.append((self.name, len(feed["images"])))

        def get_session_options(self):
            return type("Options", (), {"intra_op_num_threads": 1})()

    makers = {"a": lambda batch: {"images": np.zeros(batch)}, "b": lambda batch: {"images": np.zeros(2 * batch)}}
    measure({name: Recording(name) for name in "ab"}, makers, batch=1, rounds=1, precision=None)
    assert set(calls) == {("a", 1), ("b", 2)}


def test_real_session_is_measured_with_its_stated_threads(toy_onnx):
    result = measure({"toy": open_session(toy_onnx, threads=1)}, batch=2, rounds=5).latencies["toy"]
    assert result.threads == 1
    assert result.batch == 2
    assert 0 < result.p50_ms <= result.p90_ms
    assert result.rows_per_second == pytest.approx(2000 / result.p50_ms)


def test_noise_input_has_the_declared_shape(toy_onnx):
    assert noise_input(open_session(toy_onnx), 3)["images"].shape == (3, 3, 32, 32)


def test_throughput_is_images_over_the_median():
    found = Latency(p50_ms=8, p90_ms=9, cold_ms=10, cpu_ms=8, samples=1, threads=1, batch=32)
    assert found.rows_per_second == 4000


def test_no_rounds_is_refused():
    with pytest.raises(ValueError, match="rounds must be positive"):
        measure({}, batch=1, rounds=0)


def test_the_nth_timed_call_of_each_model_is_on_the_same_rows_and_units_are_counted(machine):
    """A row takes as long as its number says; one model is twice as slow and makes twice as much of it."""
    asked = {"a": [], "b": []}

    def model(name, factor):
        runs = {}

        def call(number):
            asked[name].append(number)
            row = number % 5
            run = runs.setdefault(row, machine.model(name, factor * (row + 1)))
            run()
            return factor * 3

        return call

    found = measure_rows({"a": model("a", 2), "b": model("b", 1)}, threads=1, batch=1, rounds=56)
    timed = {name: [numbers[-7:] for numbers in runs_of(asked[name][3:], machine, name)] for name in asked}
    assert timed["a"] == timed["b"] == [list(range(7 * pair, 7 * pair + 7)) for pair in range(PAIRS)]
    assert found.ratios["b"].value == pytest.approx(2.0)
    every = [number % 5 + 1 for number in range(56)]
    assert found.latencies["b"].p50_ms == pytest.approx(np.percentile(every, 50))
    assert found.latencies["b"].p90_ms == pytest.approx(np.percentile(every, 90))
    assert found.latencies["b"].units_per_second == pytest.approx(1000 * 3 * 56 / sum(every))
    assert found.latencies["a"].units_per_second == found.latencies["b"].units_per_second
    assert measured({"c": machine.model("c", 1.0)}).latencies["c"].units_per_second is None


def runs_of(numbers, machine, name):
    """The numbers of one model's calls, block by block."""
    sizes = [count for ran, count in machine.blocks() if ran == name][1:]
    ends = np.cumsum(sizes).tolist()
    return [numbers[end - size : end] for size, end in zip(sizes, ends, strict=True)]
