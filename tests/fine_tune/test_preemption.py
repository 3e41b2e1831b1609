"""A training stage whose pod is taken away: SIGTERM at random moments, and the next attempt goes on from there."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage_attempts import Attempts, ask_to_stop, attempting, has_started

KILLS, FEW = 20, 3
LEFT = 128 + signal.SIGTERM
PARAMETERS = {
    "epochs": 12, "head_epochs": 2, "batch_size": 8, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "batch_norm": "train", "label_smoothing": 0.1, "warmup_fraction": 0.1, "checkpoint_seconds": 3600,
}  # fmt: skip
IMPORTS = ["components.fine_tune.page", "components.fine_tune.tuning", "components.core.training.curves"]


@pytest.fixture
def inputs(make_dataset: Any, make_bundle: Any, save_bundle: Any) -> dict[str, Path]:
    return {
        "dataset": make_dataset(train=160, validation=64),
        "model": save_bundle(make_bundle("timm:test_efficientnet")),
    }


@pytest.fixture
def attempts(tmp_path: Path, inputs: dict[str, Path]) -> Iterator[Attempts]:
    with attempting(
        "fine_tune", tmp_path / "attempts", inputs=inputs, parameters=PARAMETERS, result="tuned", imports=IMPORTS
    ) as found:
        yield found


@pytest.fixture
def attempts_of_two(tmp_path: Path, inputs: dict[str, Path]) -> Iterator[Attempts]:
    """In two processes; the more epochs, the more moments while they train."""
    parameters = PARAMETERS | {"num_processes": 2, "batch_norm": "frozen", "epochs": 24}
    with attempting(
        "fine_tune", tmp_path / "attempts", inputs=inputs, parameters=parameters, result="tuned", imports=IMPORTS
    ) as found:
        yield found


@pytest.mark.e2e
def test_asked_to_stop_at_20_random_moments_the_stage_ends_with_the_digest_of_an_undisturbed_run(
    attempts: Attempts,
) -> None:
    dice = random.Random(20)
    times: list[float] = []
    assert attempts.run(0, lambda _: times.append(attempts.wait_for("epoch 0/"))) == 0
    expected, seconds = attempts.digest, time.monotonic() - times[0]

    def stop(process: int) -> None:
        # One in four at any moment, which may be before the first step; else while it trains.
        if dice.random() > 0.25:
            attempts.wait_for("epoch ")
        time.sleep(dice.uniform(0, seconds / 2))
        ask_to_stop(process)

    stopped = went_on = 0
    while stopped < KILLS:
        code = attempts.run(0, stop)
        went_on += "resumed in epoch" in attempts.log.read_text()
        if code == 0:
            assert attempts.digest == expected
            continue
        # Outside of training there is nothing to save: it just dies of the signal.
        assert code in (LEFT, -signal.SIGTERM), attempts.log.read_text()
        stopped += 1
    assert attempts.run(0) == 0
    assert attempts.digest == expected
    assert went_on >= KILLS / 4


@pytest.mark.e2e
def test_a_stage_that_is_stopped_leaves_no_output_and_its_progress_is_not_anothers(attempts: Attempts) -> None:
    def stop(process: int) -> None:
        attempts.wait_for("epoch 1/")
        ask_to_stop(process)

    assert attempts.run(0, stop) == LEFT
    assert not (attempts.folder / "output.json").exists()
    assert not (attempts.folder / "tuned" / "manifest.json").exists()
    assert attempts.run(1) == 0
    assert "resumed" not in attempts.log.read_text()
    assert attempts.run(0) == 0
    assert "resumed in epoch" in attempts.log.read_text()


@pytest.mark.e2e
def test_several_processes_that_are_asked_to_stop_save_their_progress_and_end_with_the_digest_of_an_undisturbed_run(
    attempts_of_two: Attempts,
) -> None:
    attempts, dice = attempts_of_two, random.Random(2)
    times: list[float] = []
    assert attempts.run(0, lambda _: times.append(attempts.wait_for("epoch 0/"))) == 0, attempts.log.read_text()
    expected, seconds = attempts.digest, time.monotonic() - times[0]

    def stop(process: int) -> None:
        attempts.wait_for("epoch ")
        time.sleep(dice.uniform(0, seconds / 8))
        ask_to_stop(process)

    saved = went_on = 0
    while saved < FEW:
        code = attempts.run(0, stop)
        said = attempts.log.read_text()
        # Nobody takes it for a death; the first says for all that it leaves.
        assert "start again" not in said
        assert said.count("leaving with its progress saved") <= 1
        went_on += "resumed in epoch" in said
        if code == 0:
            assert attempts.digest == expected
            continue
        # One that has trained already, and only writes its result, leaves without a word.
        assert code == LEFT, said
        saved += "leaving with its progress saved" in said
    assert attempts.run(0) == 0
    assert attempts.digest == expected
    assert went_on >= FEW - 1


@pytest.mark.e2e
def test_several_processes_that_are_asked_to_stop_before_they_train_leave_as_well(attempts_of_two: Attempts) -> None:
    def stop(process: int) -> None:
        deadline = time.monotonic() + 60
        while not has_started("torch.distributed.run", process):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ask_to_stop(process)

    assert attempts_of_two.run(0, stop) == LEFT, attempts_of_two.log.read_text()
    assert "start again" not in attempts_of_two.log.read_text()
    assert not (attempts_of_two.folder / "tuned" / "manifest.json").exists()
