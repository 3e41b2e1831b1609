"""Schedules against their formulas, written out in numpy."""

import numpy as np
import pytest
import torch

from components.core.errors import UserError
from components.core.training.schedules import SCHEDULES, Schedule

T = 40


def factors(**changes):
    schedule = Schedule(**({"name": "polynomial", "total_steps": T} | changes))
    return np.array([schedule.factor(step) for step in range(T)])


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 2.0])
def test_polynomial_is_one_minus_t_over_total_to_the_power(power):
    np.testing.assert_allclose(factors(power=power), (1 - np.arange(T) / T) ** power, rtol=1e-12)


def test_polynomial_equals_torch_polynomial_lr_stepped_once_an_optimizer_step():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=T, power=0.9)
    rates = []
    for _ in range(T):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    np.testing.assert_allclose(0.3 * factors(power=0.9), rates, rtol=1e-9)


def test_cosine_is_half_a_wave():
    np.testing.assert_allclose(factors(name="cosine"), (1 + np.cos(np.pi * np.arange(T) / T)) / 2, rtol=1e-12)


def test_step_decay_multiplies_by_gamma_after_every_so_many_steps():
    expected = np.repeat([1, 0.3, 0.09, 0.027], 10)
    np.testing.assert_allclose(factors(name="step", step_every=10, step_gamma=0.3), expected, rtol=1e-12)


def test_constant_stays_at_one():
    assert (factors(name="constant") == 1).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_linearly_and_then_the_schedule_starts(name):
    warmup = 8
    warmed = factors(name=name, warmup_steps=warmup, power=0.9, step_every=15, step_gamma=0.5)
    np.testing.assert_allclose(warmed[:warmup], np.arange(1, 9) / 9, rtol=1e-12)
    after = np.arange(T - warmup)
    expected = {
        "polynomial": (1 - after / (T - warmup)) ** 0.9,
        "cosine": (1 + np.cos(np.pi * after / (T - warmup))) / 2,
        # Milestones count from the very first step.
        "step": 0.5 ** (np.arange(warmup, T) // 15),
        "constant": np.ones(T - warmup),
        "inverse_sqrt": np.sqrt((warmup + 1) / np.arange(warmup + 1, T + 1)),
    }[name]
    np.testing.assert_allclose(warmed[warmup:], expected, rtol=1e-12)


def test_a_rate_is_never_zero_before_the_end():
    for name in SCHEDULES:
        assert factors(name=name, warmup_steps=5, step_every=10).min() > 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": "linear"}, "polynomial, step, cosine, constant"),
        ({"total_steps": 0}, "at least one step"),
        ({"warmup_steps": T + 1}, "warm-up"),
        ({"power": 0.0}, "power"),
        ({"step_every": 0}, "step_epochs"),
    ],
)
def test_what_makes_no_schedule_is_refused_by_name(changes, named):
    with pytest.raises(UserError, match=named):
        factors(**changes)
