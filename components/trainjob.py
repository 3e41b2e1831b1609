"""The program of each node of a Kubeflow Trainer TrainJob: one stage, whose training goes over all nodes.

    python3 -m components.trainjob TASK

TASK is JSON that `trimtab trainjob` writes: the stage, its parameters, its input artifacts as the store has them, and
its outputs. On each node, torchrun starts as many processes as the launcher's variables say (PET_NNODES, PET_NODE_RANK,
PET_NPROC_PER_NODE, PET_MASTER_ADDR, PET_MASTER_PORT). A process that torchrun has started (RANK is set) joins: the
first runs the stage as on a pod of its own, and leaves its result in the store, where the pipeline's stage looks for
it; the others train when it does. A node has nothing from another one's disk.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results.payload import restore_payload
from components.core.results.recall import KEEP_VARIABLE, THREADS_VARIABLE
from components.core.store import StoreError, store_from_environment
from components.core.training.launch import supervise
from components.core.training.process_group import ProcessGroup
from components.core.training.ranks import TIMEOUT, joined

RESTARTS = 10
"""How often a node restarts its processes when some, of whatever node, have died. A pod that is taken away and comes
back costs each of the others one."""

PAUSE_SECONDS = 10.0
"""Before that: whoever joins while the first node still waits for the dead would wait with it."""

FAILED, MISTAKE = 1, 2

Artifact = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StageTask:
    """`inputs`: name → the artifact as a result's record has it. `outputs`: name → KFP's type of it."""

    stage: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> "StageTask":
        """From JSON; `UserError` if it is none of ours."""
        try:
            task = cls(**json.loads(text))
            spec = importlib.util.find_spec(f"components.{task.stage}.component")
        except (ValueError, TypeError, AttributeError, ModuleNotFoundError) as error:
            raise UserError(f"not the task of a training job: {error}; `trimtab trainjob` writes one") from None
        if spec is None:
            raise UserError(f"there is no stage {task.stage!r}")
        return task


def main(arguments: list[str]) -> int:
    """The exit code: 0 when the result is in the store, 2 for a user's mistake, 143 when asked to stop."""
    if len(arguments) not in (1, 2):
        print("error: usage: python3 -m components.trainjob TASK", file=sys.stderr)
        return MISTAKE
    try:
        task = StageTask.read(arguments[0])
        if "RANK" not in os.environ:
            _be_node(arguments[0])
        else:
            _be_process(task)
    except UserError as error:
        if len(arguments) == 2:
            Path(arguments[1]).write_text(str(error), encoding="utf-8")
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


def _be_node(task: str) -> None:
    """Starts this node's processes, again when any of the job's died, until they have done their work."""
    threads = os.environ.get(THREADS_VARIABLE, "1")
    with tempfile.TemporaryDirectory(prefix="trimtab-node-") as folder:
        mistake = Path(folder, "mistake.txt")
        supervise(
            [
                sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0",
                "--rdzv-conf", f"timeout={TIMEOUT.seconds}", "-m", "components.trainjob", task, str(mistake),
            ],
            environment={"OMP_NUM_THREADS": threads, **os.environ},
            mistake=mistake, who="the processes", restarts=RESTARTS, pause_seconds=PAUSE_SECONDS,
        )  # fmt: skip


def _be_process(task: StageTask) -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-task-") as name, joined() as ranks:
        folder, size, wanted = Path(name), ranks.share.size, task.parameters.get("num_processes", 1)
        if wanted != size:
            raise UserError(f"num_processes is {wanted}, but the job has {size} processes (nodes x processes per node)")
        store = store_from_environment()
        inputs = {
            name: restore_payload(record, folder / "inputs" / name, store) for name, record in task.inputs.items()
        }
        group = ProcessGroup(ranks=ranks, artifacts={name: item["uri"] for name, item in inputs.items()})
        if not ranks.leads:
            group.follow()
            return
        with group.led():
            _run_stage(task, inputs, folder)


def _run_stage(task: StageTask, inputs: Mapping[str, Artifact], folder: Path) -> None:
    """The stage as KFP's launcher starts it in a container, its outputs in a folder of this process."""
    from kfp.dsl.executor_main import executor_main

    def listed(artifact: Artifact) -> dict[str, Any]:
        return {"artifacts": [dict(artifact)]}

    types = {name: {"schemaTitle": title, "schemaVersion": "0.0.1"} for name, title in task.outputs.items()}
    outputs = {
        name: listed({"name": name, "type": kind, "uri": str(folder / "outputs" / name), "metadata": {}})
        for name, kind in types.items()
    }
    given = {
        "inputs": {
            "parameterValues": dict(task.parameters),
            "artifacts": {name: listed(item) for name, item in inputs.items()},
        },
        "outputs": {"artifacts": outputs, "outputFile": str(folder / "output.json")},
    }
    spec = importlib.util.find_spec(f"components.{task.stage}.component")
    assert spec is not None
    assert spec.origin is not None
    os.environ[KEEP_VARIABLE] = "1"
    sys.argv = [
        "executor_main", "--executor_input", json.dumps(given), "--component_module_path", spec.origin,
        "--function_to_execute", task.stage,
    ]  # fmt: skip
    executor_main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
