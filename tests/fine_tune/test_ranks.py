"""Several processes train one network: as one would at the same batch size, and also when one of them dies."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.errors import UserError
from components.core.store import Store
from components.fine_tune.component import fine_tune

SETTINGS = {
    "epochs": 3, "head_epochs": 2, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "label_smoothing": 0.1, "warmup_fraction": 0.0,
}  # fmt: skip


@pytest.fixture
def tune(run_stage: Any, make_dataset: Any, make_bundle: Any, save_bundle: Any) -> Any:
    inputs = {
        "dataset": make_dataset(train=80, validation=17),
        "model": save_bundle(make_bundle("timm:test_efficientnet")),
    }

    def run(name: str, **changes: Any) -> dict[str, Any]:
        return run_stage(fine_tune, inputs=inputs, run_name=name, **(SETTINGS | changes))

    return run


def weights(outputs: dict[str, Any], store: Store) -> dict[str, torch.Tensor]:
    return load_model(outputs["tuned"].path, store).module.state_dict()


def digest(outputs: dict[str, Any]) -> str:
    return read_manifest(outputs["tuned"].path, kind="model").digest


def ranks_of(parent: int) -> list[int]:
    """Process ids of the processes that train, below torchrun, below `parent`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"components.core.training.rank_entry" in command and b"torch.distributed.run" not in command:
            found.append(int(entry.name))
    return sorted(found)


@pytest.mark.e2e
def test_two_processes_take_the_steps_of_one_and_a_killed_one_changes_nothing(
    tune: Any, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = tune("alone")
    together = tune("together", num_processes=2)
    first, second = weights(alone, store), weights(together, store)
    assert first.keys() == second.keys()
    start = load_model(tune("untrained", epochs=0)["tuned"].path, store).module.state_dict()
    for name, tensor in first.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    moved = max(float((first[name] - start[name]).abs().max()) for name in first if first[name].is_floating_point())
    assert moved > 0.01
    assert together["metrics"].metadata["validation_top1"] == alone["metrics"].metadata["validation_top1"]
    assert together["metrics"].metadata["validation_loss"] == pytest.approx(
        alone["metrics"].metadata["validation_loss"], abs=1e-3
    )

    capfd.readouterr()
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not killed:
            if "epoch 1/3" in "".join(lines := [capfd.readouterr().out]):
                said.extend(lines)
                victim = ranks_of(os.getpid())[-1]
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            time.sleep(0.02)

    said: list[str] = []
    killer = threading.Thread(target=kill_one)
    killer.start()
    survived = tune("survived", num_processes=2, checkpoint_seconds=0)
    killer.join()
    assert killed
    assert "resumed in epoch" in capfd.readouterr().out
    assert digest(survived) == digest(together)


@pytest.mark.e2e
def test_a_mistake_in_the_processes_is_one_line_and_is_not_tried_again(tune: Any) -> None:
    with pytest.raises(UserError, match="the loss became"):
        tune("broken", num_processes=2, learning_rate=1e30, optimizer="sgd", ema_decay=0.0, batch_size=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": 3}, "num_processes must be a divisor of batch_size 16; got 3"),
        ({"num_processes": 0}, "num_processes must be at least 1; got 0"),
        ({"num_processes": 2, "batch_norm": "train"}, "batch_norm must be frozen with several processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_they_start(
    tune: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tune("refused", **changes)
