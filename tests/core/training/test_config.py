"""Parameters are checked when the config is built."""

import dataclasses

import pytest

from components.core.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"schedule": "linear"},
            "schedule must be one of polynomial, step, cosine, constant, inverse_sqrt; got 'linear'",
        ),
        ({"optimizer": "adam"}, "optimizer must be one of adamw, sgd; got 'adam'"),
        ({"precision": "fp16"}, "precision must be one of auto, float32, bfloat16, float16; got 'fp16'"),
        ({"batch_norm": "fixed"}, "batch_norm must be one of frozen, train; got 'fixed'"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be greater than 0; got nan"),
        ({"epochs": -1}, "epochs must be at least 0; got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"layer_decay": 1.2}, r"layer_decay must be greater than 0 and at most 1; got 1.2"),
        ({"ema_decay": 1.0}, r"ema_decay must be at least 0 and less than 1; got 1.0"),
        ({"warmup_fraction": 1.0}, r"warmup_fraction must be at least 0 and less than 1; got 1.0"),
        ({"patience": -1}, "patience must be at least 0; got -1"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_work(tiny, changes, message):
    with pytest.raises(UserError, match=message):
        tiny.config(**changes)


def test_a_config_cannot_be_changed(tiny):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.config().epochs = 7


def test_epochs_of_the_config_become_optimizer_steps_of_the_schedule(tiny):
    schedule = tiny.config(epochs=5, warmup_fraction=0.2, step_epochs=2).build_schedule(steps_per_epoch=10)
    assert (schedule.total_steps, schedule.warmup_steps, schedule.step_every) == (50, 10, 20)
