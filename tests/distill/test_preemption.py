"""Distillation whose pod is taken away: SIGTERM at random moments, and the next attempt goes on from there."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage_attempts import Attempts, ask_to_stop, attempting

STOPS = 6
LEFT = 128 + signal.SIGTERM
# At another size than the teacher's, batch norms are measured anew before the first step of every attempt.
PARAMETERS = {
    "epochs": 12, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "recipe": {"name": "r", "student_size": 24}, "checkpoint_seconds": 3600, "seed": 0,
}  # fmt: skip


@pytest.fixture
def attempts(tmp_path: Path, make_dataset: Any, make_bundle: Any, save_bundle: Any) -> Iterator[Attempts]:
    inputs = {
        "dataset": make_dataset(train=160, validation=64),
        "teacher": save_bundle(make_bundle("timm:test_efficientnet")),
        "student": save_bundle(make_bundle("timm:test_efficientnet", seed=1)),
    }
    with attempting(
        "distill", tmp_path / "attempts", inputs=inputs, parameters=PARAMETERS, result="distilled",
        imports=["components.distill.page", "components.distill.distillation", "components.core.training.curves"],
    ) as found:  # fmt: skip
        yield found


@pytest.mark.e2e
def test_asked_to_stop_at_random_moments_the_stage_ends_with_the_digest_of_an_undisturbed_run(
    attempts: Attempts,
) -> None:
    dice = random.Random(6)
    times: list[float] = []
    assert attempts.run(0, lambda _: times.append(attempts.wait_for("epoch 0/"))) == 0, attempts.log.read_text()
    expected, seconds = attempts.digest, time.monotonic() - times[0]

    def stop(process: int) -> None:
        attempts.wait_for("epoch ")
        time.sleep(dice.uniform(0, seconds / 4))
        ask_to_stop(process)

    stopped = went_on = 0
    while stopped < STOPS:
        code = attempts.run(0, stop)
        went_on += "resumed in epoch" in attempts.log.read_text()
        if code == 0:
            assert attempts.digest == expected
            continue
        assert code in (LEFT, -signal.SIGTERM), attempts.log.read_text()
        stopped += 1
    assert attempts.run(0) == 0
    assert attempts.digest == expected
    assert went_on >= STOPS / 3
