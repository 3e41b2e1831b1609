"""Starts a stage's training in several processes of this machine, under torchrun, and brings the result back."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components.core.errors import UserError
from components.core.training.history import History
from components.core.training.ranks import Ranks, joined
from components.core.training.stopping import Stopped, StopRequest

RESTARTS = 3
"""How often all processes start anew, from the last checkpoint, after one of them died."""

_WEIGHTS, _HISTORY, _MISTAKE = "weights.safetensors", "history.json", "mistake.txt"

Train = Callable[[Mapping[str, Any], Ranks], tuple[nn.Module, History]]
"""`train(spec, ranks)` → the trained module on the CPU, and its curves; called in each process."""


def train_in_processes(entry: str, spec: Mapping[str, Any], module: nn.Module, *, num_processes: int) -> History:
    """Runs the module `entry` (`python -m entry`) in each process, and loads the trained weights into `module`.

    Args:
        entry: a Python module that calls `serve`.
        spec: what it is told; JSON-able.
        module: gets the result.
        num_processes: on this machine. The threads that were meant for one are shared among them.

    Raises:
        UserError: as in the processes. Stopped: asked to stop, after they saved their progress. RuntimeError: they died
            more than `RESTARTS` times.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-ranks-") as folder, StopRequest() as stop:
        path = Path(folder, "spec.json")
        path.write_text(json.dumps({**spec, "folder": folder}), encoding="utf-8")
        threads = max(torch.get_num_threads() // num_processes, 1)
        for attempt in range(RESTARTS + 1):
            code = _run(_command(entry, path, num_processes), stop, threads=threads)
            if (mistake := Path(folder, _MISTAKE)).exists():
                raise UserError(mistake.read_text(encoding="utf-8"))
            if stop.asked:
                raise Stopped
            if not code:
                break
            if attempt == RESTARTS:
                raise RuntimeError(
                    f"the {num_processes} processes that train died {attempt + 1} times, exit code {code}"
                )
            print(f"one of the {num_processes} processes died; all start again ({attempt + 1} of {RESTARTS})")
        module.load_state_dict(load_file(Path(folder, _WEIGHTS)))
        return History(**json.loads(Path(folder, _HISTORY).read_text(encoding="utf-8")))


def serve(train: Train, arguments: list[str]) -> None:
    """The main function of a process: trains, and the first one writes the result."""
    spec = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    folder = Path(spec["folder"])
    with joined() as ranks:
        try:
            module, history = train(spec, ranks)
        except UserError as error:
            # Not an exit code: all would be started again, and the mistake would still be there.
            (folder / _MISTAKE).write_text(str(error), encoding="utf-8")
            return
        if ranks.leads:
            state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
            save_file(state, folder / _WEIGHTS)
            (folder / _HISTORY).write_text(json.dumps(asdict(history)), encoding="utf-8")
        ranks.wait()


def _command(entry: str, spec: Path, num_processes: int) -> list[str]:
    # Restarted from here and not by torchrun: with torch 2.14 its second attempt now and then finds addresses of the
    # first, and waits for processes that are dead.
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", str(num_processes), "--max-restarts", "0", "-m", entry, str(spec),
    ]  # fmt: skip


def _run(command: list[str], stop: StopRequest, *, threads: int) -> int:
    """torchrun's exit code; it is asked to stop when this process is."""
    environment = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, env=environment) as process:
        told = False
        while True:
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                if stop.asked and not told:
                    process.terminate()
                    told = True
