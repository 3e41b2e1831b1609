"""The pods of a TrainJob, as the kubelet and the Trainer's torch runtime start them, on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import dsl

from components.core.artifacts.manifest import describe, read_manifest
from components.core.results import cache
from components.core.results.payload import content_digest, payload_at
from components.core.store import Store
from pipelines.cli import app


def command_line(*words: str) -> Any:
    """`trimtab` with these words, in this process."""
    return app(list(words), standalone_mode=False)


def remember(store: Store, stage: str, output: str, title: str, path: Path) -> str:
    """Leaves an artifact as the result of a stage; the digest that names it."""
    manifest = read_manifest(path)
    artifact = dsl.Artifact(name=output, uri=str(path))
    describe(artifact, manifest, store, rows=1)
    schema = {"schemaTitle": f"system.{title}", "schemaVersion": "0.0.1"}
    item = {"name": output, "type": schema, "uri": str(path), "metadata": dict(artifact.metadata)}
    item["content"] = content_digest(item, payload_at(path))
    cache.save(store, stage, f"key-{manifest.digest}", parameters={}, artifacts={output: [item]}, seconds=1.0)
    return manifest.digest


@dataclass
class Node:
    """One pod of a TrainJob, as the kubelet and the Trainer's torch runtime start it, on a disk of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self) -> int:
        """Its exit code, when it is over."""
        return self.process.wait(timeout=400)

    def wait_for(self, words: str) -> None:
        """Returns when it has said so."""
        deadline = time.monotonic() + 200
        while words not in self.log:
            assert time.monotonic() < deadline, self.log
            assert self.process.poll() is None, self.log
            time.sleep(0.02)


def lose_power(folder: Path) -> None:
    """Nothing of the node with this disk is left, not even what its processes have started."""
    mark = f"TMPDIR={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def start_nodes(manifest: Mapping[str, Any], folder: Path, port: int) -> list[Node]:
    """All pods of a job."""
    count = manifest["spec"]["trainer"]["numNodes"]
    return [start_node(manifest, folder / f"node-{rank}", rank, port) for rank in range(count)]


def start_node(manifest: Mapping[str, Any], folder: Path, rank: int, port: int) -> Node:
    """One of them. References in its environment are taken from this process's, which stands for the cluster."""
    trainer = manifest["spec"]["trainer"]
    folder.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for entry in trainer["env"]:
        source = entry.get("valueFrom", {})
        reference = source.get("secretKeyRef") or source.get("configMapKeyRef")
        environment[entry["name"]] = os.environ[reference["key"]] if reference else entry["value"]
    environment |= {
        "PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_NODE_RANK": str(rank), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
    }  # fmt: skip
    # Of this machine: a disk of its own for each node, and no way around loopback.
    environment |= {
        "TMPDIR": str(folder), "HOME": str(folder), "TRIMTAB_CACHE": str(folder / "cache"), "GLOO_SOCKET_IFNAME": "lo",
        "NO_PROXY": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    assert trainer["command"][0] == "python3"
    # What one node writes, the other cannot see.
    own_disk = f'mount -t tmpfs tmpfs "{folder}" && cd "{folder}" && exec "$@"'
    command = [
        "unshare", "--mount", "--map-root-user", "sh", "-c", own_disk, "sh",
        sys.executable, *trainer["command"][1:], *trainer["args"],
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    return Node(process, folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def told(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The task that the job gives to `components.trainjob`."""
    task: dict[str, Any] = json.loads(manifest["spec"]["trainer"]["args"][0])
    return task
