"""Killed at any moment, a run goes on from its checkpoint and ends with the weights of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from components.core.errors import UserError
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.training.checkpoint import Checkpointer, checkpoint_key
from components.core.training.device import deterministic
from components.core.training.loop import train

TASK = get_task("classification")
CPU = torch.device("cpu")
KEY = "a" * 64

CHILD = """
import sys, time
sys.path.insert(0, {folder!r})
import conftest, torch
from safetensors.torch import save_file
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.training.checkpoint import Checkpointer
from components.core.training.device import deterministic
from components.core.training.loop import train
store, out = sys.argv[1:]
torch.set_num_threads(1)
def slow_step(model, batch):
    time.sleep(0.02)
    return conftest.cross_entropy_step(model, batch)
with deterministic(0):
    net = conftest.tiny_net()
    train(net, data=conftest.tiny_data(), task=get_task("classification"), num_classes=3, step_loss=slow_step,
          config=conftest.tiny_config(epochs=4), device=torch.device("cpu"),
          checkpointer=Checkpointer(open_store(store), "{key}", seconds=0))
save_file(net.state_dict(), out)
"""


class InterruptedRunError(Exception):
    pass


class StopAfter(Checkpointer):
    """Saves at one chosen step, then the process "dies" a step later: what came after the checkpoint is lost."""

    def __init__(self, store, *, step):
        super().__init__(store, KEY, seconds=0)
        self.step, self.calls = step, 0

    def is_due(self):
        self.calls += 1
        if self.calls == self.step + 1:
            raise InterruptedRunError
        return self.calls == self.step


def run(tiny, checkpointer=None, **changes):
    net, lines = tiny.net(), []
    with deterministic(0):
        history = train(
            net,
            data=tiny.data(),
            task=TASK,
            num_classes=3,
            step_loss=tiny.step_loss,
            config=tiny.config(**changes),
            device=CPU,
            checkpointer=checkpointer,
            report=lines.append,
        )
    return net.state_dict(), history, lines


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Four steps an epoch: in the middle of the first, at the end of one, at the start and in the middle of later ones.
@pytest.mark.parametrize("step", [1, 4, 5, 7, 11])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "ema_decay": 0.0, "layer_decay": 1.0},
        # The rate explodes after the first epoch, so the best weights are those from before the checkpoint.
        {"schedule": "step", "step_gamma": 40.0, "ema_decay": 0.0, "optimizer": "sgd", "learning_rate": 0.3},
    ],
)
def test_a_resumed_run_ends_with_the_weights_and_curves_of_an_undisturbed_one(tiny, tmp_path, step, changes):
    expected, expected_history, _ = run(tiny, **changes)
    store = open_store(str(tmp_path))
    with pytest.raises(InterruptedRunError):
        run(tiny, StopAfter(store, step=step), **changes)
    torch.manual_seed(99)  # whatever the new process's generator holds must not matter
    weights, history, lines = run(tiny, Checkpointer(store, KEY, seconds=3600), **changes)
    assert lines[0].startswith("resumed in epoch")
    assert equal(weights, expected)
    assert history.to_json() == expected_history.to_json()


def test_kill_9_and_a_second_start_give_the_weights_of_an_undisturbed_run(tmp_path):
    script = CHILD.format(folder=str(Path(__file__).parent), key=KEY)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(store, out):
        return subprocess.Popen(
            [sys.executable, "-c", script, str(store), str(out)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    assert start(tmp_path / "undisturbed", tmp_path / "expected.safetensors").wait(timeout=120) == 0

    child = start(tmp_path / "killed", tmp_path / "resumed.safetensors")
    checkpoints = open_store(str(tmp_path / "killed")).checkpoints
    deadline = time.monotonic() + 120
    while not checkpoints.load(KEY, tmp_path / "probe"):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.15)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "resumed.safetensors").exists()

    again = start(tmp_path / "killed", tmp_path / "resumed.safetensors")
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert output.startswith("resumed in epoch")
    assert equal(load_file(tmp_path / "resumed.safetensors"), load_file(tmp_path / "expected.safetensors"))


def test_without_a_checkpoint_nothing_is_restored(tiny, tmp_path):
    _, _, lines = run(tiny, Checkpointer(open_store(str(tmp_path)), KEY, seconds=3600))
    assert lines[0].startswith("epoch 0/3")


def test_a_cleared_checkpoint_is_not_found_again(tiny, tmp_path):
    store = open_store(str(tmp_path))
    checkpointer = Checkpointer(store, KEY, seconds=0)
    run(tiny, checkpointer, epochs=1)
    assert store.checkpoints.load(KEY, tmp_path / "before")
    checkpointer.clear()
    assert not store.checkpoints.load(KEY, tmp_path / "after")


def test_a_checkpoint_is_due_when_its_time_has_passed_since_the_last(tiny, tmp_path):
    now = [0.0]
    checkpointer = Checkpointer(open_store(str(tmp_path)), KEY, seconds=60, clock=lambda: now[0])
    now[0] = 59.0
    assert not checkpointer.is_due()
    now[0] = 60.0
    assert checkpointer.is_due()


def test_the_key_follows_parameters_and_inputs_but_not_how_often_is_saved():
    def key(**changes):
        parameters = {"epochs": 3, "checkpoint_seconds": 60} | changes
        return checkpoint_key("fine_tune", parameters=parameters, inputs={"model": changes.get("model", "aa")})

    assert key() == key(checkpoint_seconds=5)
    assert len({key(), key(epochs=4), key(model="bb")}) == 3


@pytest.mark.parametrize(
    "progress",
    [b"[" * 100_000, b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "history": 5}', b'{"format": 1, "x": 1}'],
)
def test_a_checkpoint_that_does_not_say_where_the_run_is_is_one_line(tmp_path, progress):
    store = open_store(str(tmp_path))
    store.checkpoints.save(KEY, {"progress.json": progress, "tensors.safetensors": save({"a": torch.zeros(1)})})
    with pytest.raises(UserError, match=r"progress\.json of checkpoint a{12} ") as caught:
        Checkpointer(store, KEY, seconds=0).restore(None)
    assert len(str(caught.value)) < 300
