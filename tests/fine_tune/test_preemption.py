"""A training stage whose pod is taken away: SIGTERM at random moments, and the next attempt goes on from there."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.core.artifacts.manifest import read_manifest

KILLS = 20
LEFT = 128 + signal.SIGTERM
PARAMETERS = {
    "epochs": 12, "head_epochs": 2, "batch_size": 8, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "batch_norm": "train", "label_smoothing": 0.1, "warmup_fraction": 0.1, "checkpoint_seconds": 3600,
}  # fmt: skip

# Each attempt is a process of its own, forked from one that has done the imports; it runs what a container would.
ATTEMPTS = """
import json, os, sys, traceback
import torch
from kfp.dsl.executor import Executor
from components.fine_tune.component import fine_tune
import components.fine_tune.page, components.fine_tune.tuning, components.core.training.curves
torch.set_num_threads(1)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            Executor(executor_input=asked["input"], function_to_execute=fine_tune).execute()
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Attempts:
    """Attempts of the same fine_tune task, one after another."""

    process: subprocess.Popen[str]
    folder: Path
    inputs: dict[str, Path]
    count: int = 0

    def run(self, seed: int, stop: Callable[[int], None] = lambda _: None) -> int:
        """One attempt, during which `stop` is called with its process id; its exit code."""
        self.count += 1
        self.folder.mkdir(exist_ok=True)
        assert self.process.stdin
        assert self.process.stdout
        asked = {"log": str(self.log), "input": self._input(seed)}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        stop(int(self.process.stdout.readline()))
        return int(self.process.stdout.readline())

    @property
    def log(self) -> Path:
        return self.folder / f"{self.count}.log"

    def wait_for(self, words: str) -> float:
        """Waits until the running attempt has said so; the time then."""
        deadline = time.monotonic() + 120
        while not self.log.exists() or words not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.005)
        return time.monotonic()

    @property
    def digest(self) -> str:
        return read_manifest(self.folder / "tuned", kind="model").digest

    def _input(self, seed: int) -> dict[str, Any]:
        def artifact(name: str, path: Path, title: str) -> dict[str, Any]:
            schema = {"schemaTitle": f"system.{title}", "schemaVersion": "0.0.1"}
            return {"artifacts": [{"name": name, "uri": str(path), "metadata": {}, "type": schema}]}

        types = {"tuned": "Model", "curves": "Artifact", "metrics": "Metrics", "page": "HTML"}
        return {
            "inputs": {
                "parameterValues": {**PARAMETERS, "seed": seed},
                "artifacts": {name: artifact(name, path, "Artifact") for name, path in self.inputs.items()},
            },
            "outputs": {
                "artifacts": {name: artifact(name, self.folder / name, title) for name, title in types.items()},
                "outputFile": str(self.folder / "output.json"),
            },
        }


@pytest.fixture
def attempts(tmp_path: Path, make_dataset: Any, make_bundle: Any, save_bundle: Any) -> Any:
    inputs = {
        "dataset": make_dataset(train=160, validation=64),
        "model": save_bundle(make_bundle("timm:test_efficientnet")),
    }
    with subprocess.Popen(
        [sys.executable, "-c", ATTEMPTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Attempts(process, tmp_path / "attempts", inputs)
        assert process.stdin
        process.stdin.close()


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
        subprocess.run(["kill", "-TERM", str(process)], check=False, capture_output=True)

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
        subprocess.run(["kill", "-TERM", str(process)], check=True)

    assert attempts.run(0, stop) == LEFT
    assert not (attempts.folder / "output.json").exists()
    assert not (attempts.folder / "tuned" / "manifest.json").exists()
    assert attempts.run(1) == 0
    assert "resumed" not in attempts.log.read_text()
    assert attempts.run(0) == 0
    assert "resumed in epoch" in attempts.log.read_text()
