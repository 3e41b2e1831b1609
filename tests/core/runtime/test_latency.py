"""Latency: interleaved calls, the stated number of samples, inputs by variant."""

import numpy as np
import pytest

from components.core.runtime.latency import Latency, measure, noise_input
from components.core.runtime.sessions import open_session


class RecordingSession:
    """Stands for a session; remembers the order of calls."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def run(self, _, feed):
        self.calls.append((self.name, len(feed["images"])))

    def get_session_options(self):
        return type("Options", (), {"intra_op_num_threads": 1})()


def test_variants_are_interleaved_and_warmup_is_not_counted():
    calls = []
    sessions = {name: RecordingSession(name, calls) for name in "ab"}
    result = measure(sessions, lambda batch: {"images": np.zeros(batch)}, batch=4, rounds=3, warmup=1)
    assert [name for name, _ in calls] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {batch for _, batch in calls} == {4}
    assert result["a"].samples == result["b"].samples == 3


def test_each_variant_gets_its_own_input():
    calls = []
    sessions = {name: RecordingSession(name, calls) for name in "ab"}
    makers = {"a": lambda batch: {"images": np.zeros(batch)}, "b": lambda batch: {"images": np.zeros(2 * batch)}}
    measure(sessions, makers, batch=1, rounds=1, warmup=0)
    assert sorted(calls) == [("a", 1), ("b", 2)]


def test_real_session_is_measured_with_its_stated_threads(toy_onnx):
    result = measure({"toy": open_session(toy_onnx, threads=1)}, batch=2, rounds=5, warmup=1)["toy"]
    assert result.threads == 1
    assert result.batch == 2
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms
    assert result.rows_per_second == pytest.approx(2000 / result.p50_ms)


def test_noise_input_has_the_declared_shape(toy_onnx):
    assert noise_input(open_session(toy_onnx), 3)["images"].shape == (3, 3, 32, 32)


def test_throughput_is_images_over_the_median():
    latency = Latency(p50_ms=8, p90_ms=9, p99_ms=9, cpu_ms=8, samples=1, threads=1, batch=32)
    assert latency.rows_per_second == 4000


def test_no_rounds_is_refused():
    with pytest.raises(ValueError, match="rounds must be positive"):
        measure({}, batch=1, rounds=0)
