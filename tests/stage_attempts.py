"""A training stage whose pod is taken away and comes back: attempts of one task, each a process to be stopped."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.artifacts.manifest import read_manifest

# Each attempt is a process of its own, forked from one that has done the imports; it runs what a container would.
ATTEMPTS = """
import json, os, sys, traceback
import torch
from kfp.dsl.executor import Executor
from importlib import import_module
stage = sys.argv[1]
function = getattr(import_module(f"components.{stage}.component"), stage)
for name in sys.argv[2:]:
    import_module(name)
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
            Executor(executor_input=asked["input"], function_to_execute=function).execute()
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
    """Attempts of the same training task, one after another. `result`: the output that is the trained model."""

    process: subprocess.Popen[str]
    folder: Path
    inputs: dict[str, Path]
    parameters: dict[str, Any]
    result: str
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
        return read_manifest(self.folder / self.result, kind="model").digest

    def _input(self, seed: int) -> dict[str, Any]:
        def artifact(name: str, path: Path, title: str) -> dict[str, Any]:
            schema = {"schemaTitle": f"system.{title}", "schemaVersion": "0.0.1"}
            return {"artifacts": [{"name": name, "uri": str(path), "metadata": {}, "type": schema}]}

        types = {self.result: "Model", "curves": "Artifact", "metrics": "Metrics", "page": "HTML"}
        return {
            "inputs": {
                "parameterValues": {**self.parameters, "seed": seed},
                "artifacts": {name: artifact(name, path, "Artifact") for name, path in self.inputs.items()},
            },
            "outputs": {
                "artifacts": {name: artifact(name, self.folder / name, title) for name, title in types.items()},
                "outputFile": str(self.folder / "output.json"),
            },
        }


@contextmanager
def attempting(
    stage: str, folder: Path, *, inputs: dict[str, Path], parameters: dict[str, Any], result: str, imports: list[str]
) -> Iterator[Attempts]:
    """Attempts of a stage's task. `imports`: what is imported once, before the first."""
    with subprocess.Popen(
        [sys.executable, "-c", ATTEMPTS, stage, *imports], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Attempts(process, folder, inputs, parameters, result)
        assert process.stdin
        process.stdin.close()


def ask_to_stop(process: int) -> None:
    """SIGTERM; also to a process that is over by now."""
    subprocess.run(["kill", "-TERM", str(process)], check=False, capture_output=True)


def has_started(module: str, parent: int) -> bool:
    """Whether a child of this process runs `python -m module`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            its_parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if words[1:3] == [b"-m", module.encode()] and int(its_parent) == parent:
            return True
    return False
