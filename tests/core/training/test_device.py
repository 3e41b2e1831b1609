"""Precision and determinism."""

import pytest
import torch

from components.core.training.device import autocast, deterministic, place, use_available_threads

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_a_product_on_the_cpu_has_the_precision_asked_for(precision, dtype):
    with autocast(CPU, precision):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == dtype


def test_nondeterministic_kernels_are_refused_inside_and_allowed_again_outside():
    with deterministic(0):
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.randn(3)
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(0):
        assert torch.equal(torch.randn(3), first)


def test_convolutions_are_placed_in_channels_last(tiny):
    assert place(tiny.net(), CPU).stem[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_threads_follow_the_environment_also_in_a_process_that_has_torch_loaded(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        assert use_available_threads() == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
