"""Starts a stage's training in several processes of this machine, under torchrun, and brings the result back."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from components.core.errors import UserError
from components.core.training import rank_entry
from components.core.training.history import History
from components.core.training.process_group import process_group
from components.core.training.rank_entry import HISTORY, MISTAKE, WEIGHTS, Technique, spec_of
from components.core.training.stopping import Stopped, StopRequest

RESTARTS = 3
"""How often all processes restart from the last checkpoint after one of them died."""


def train_in_processes(
    technique: Technique,
    config: Any,
    module: nn.Module,
    *,
    key: str,
    dataset: str,
    models: Mapping[str, str],
    num_processes: int,
) -> History:
    """Runs `technique` in each process, on its share of every batch, and loads the trained weights into `module`.

    The processes are those that a launcher has started, on whatever nodes; where there are none, they are started on
    this machine.

    Args:
        technique: a function at the top of a module; see `rank_entry.Technique`.
        config: its configuration.
        module: gets the result.
        key: the checkpoint's.
        dataset: path of the artifact.
        models: name of each input model → path of the artifact, in the order in which the technique takes them.
        num_processes: the threads that were meant for one are shared among them.

    Raises:
        UserError: as in the processes. Stopped: asked to stop, after they saved their progress. RuntimeError: they died
            more than `RESTARTS` times.
    """
    spec = spec_of(technique, config, key=key, models=list(models))
    if (group := process_group()) is not None:
        return group.train(spec, module)
    with tempfile.TemporaryDirectory(prefix="trimtab-ranks-") as folder:
        path = Path(folder, "spec.json")
        path.write_text(json.dumps({**spec, "dataset": dataset, **models, "folder": folder}), encoding="utf-8")
        supervise(
            _command(path, num_processes),
            environment={
                "GLOO_SOCKET_IFNAME": "lo", **os.environ,
                "OMP_NUM_THREADS": str(max(torch.get_num_threads() // num_processes, 1)),
            },
            mistake=Path(folder, MISTAKE),
            who=f"the {num_processes} processes",
        )  # fmt: skip
        module.load_state_dict(load_file(Path(folder, WEIGHTS)))
        return History(**json.loads(Path(folder, HISTORY).read_text(encoding="utf-8")))


def supervise(
    command: list[str],
    *,
    environment: Mapping[str, str],
    mistake: Path,
    who: str,
    restarts: int = RESTARTS,
    pause_seconds: float = 0.0,
) -> None:
    """Runs torchrun until its processes have done their work, and again, `restarts` times, when one of them died.

    Args:
        mistake: where a process writes a user's mistake.
        who: the processes, for messages.
        pause_seconds: before they start again.

    Raises:
        UserError: what the file `mistake` says. Stopped: asked to stop. RuntimeError: they died once more than that.
    """
    with StopRequest() as stop:
        for attempt in range(restarts + 1):
            code = _run(command, environment, stop)
            if mistake.exists():
                raise UserError(mistake.read_text(encoding="utf-8"))
            if stop.asked:
                raise Stopped
            if not code:
                return
            if attempt < restarts:
                print(f"one of {who} died; all start again ({attempt + 1} of {restarts})", flush=True)
                stop.wait(pause_seconds)
        raise RuntimeError(f"{who} that train died {restarts + 1} times, exit code {code}")


def _command(spec: Path, num_processes: int) -> list[str]:
    # Restarted from here and not by torchrun: with torch 2.14 its second attempt now and then finds addresses of the
    # first, and waits for processes that are dead.
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", str(num_processes), "--max-restarts", "0", "-m", rank_entry.__name__, str(spec),
    ]  # fmt: skip


def _run(command: list[str], environment: Mapping[str, str], stop: StopRequest) -> int:
    """torchrun's exit code; it is asked to stop when this process is."""
    with subprocess.Popen(command, env=environment) as process:
        told = False
        while True:
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                if stop.asked and not told:
                    process.terminate()
                    told = True
