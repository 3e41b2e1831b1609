"""`trimtab compile` for a cluster."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli.catalog import COMPILED

Trimtab = Callable[..., Any]
DIGEST = "sha256:" + "0f" * 32


@pytest.fixture
def lock(tmp_path: Path) -> str:
    path = tmp_path / "lock.json"
    names = {name: f"registry.example.com/{name}@{DIGEST}" for name in ("trimtab/data", "trimtab/train")}
    path.write_text(json.dumps(names))
    return str(path)


def images_in(path: Path) -> set[str]:
    spec = next(yaml.safe_load_all(path.read_text()))
    return {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}


def test_a_file_for_a_cluster_has_images_by_digest_and_the_values(
    trimtab: Trimtab, tmp_path: Path, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "values.yaml").write_text("stages: {prune: {timeout: 1h}}")
    arguments = ("compile", "--output", "ready.yaml", "--images", lock, "--values", "values.yaml")
    said = trimtab(*arguments)
    assert said.code == 0
    assert f"trimtab/data:0.1.0 → registry.example.com/trimtab/data@{DIGEST}" in said.out
    assert images_in(tmp_path / "ready.yaml") == {
        f"registry.example.com/trimtab/data@{DIGEST}",
        f"registry.example.com/trimtab/train@{DIGEST}",
    }
    _, platform = yaml.safe_load_all((tmp_path / "ready.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-prune"].pop("activeDeadlineSeconds") == "3600"
    safe = {
        "securityContext": {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True},
        "emptyDirMounts": [{"volumeName": "trimtab-tmp", "mountPath": "/tmp"}],
    }
    assert len(executors) >= 12
    assert all(executor == safe for executor in executors.values())
    assert trimtab(*arguments, "--check").code == 0
    monkeypatch.setenv("TRIMTAB_REGISTRY", "mirror.example.com/ml")
    assert trimtab(*arguments, "--check").code == 1
    assert trimtab(*arguments, "--registry", "other.example.com").code == 0
    assert f"other.example.com/trimtab/data@{DIGEST}" in images_in(tmp_path / "ready.yaml")


def test_what_is_checked_in_knows_no_cluster(trimtab: Trimtab, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (COMPILED / "optimize.yaml").read_bytes()
    monkeypatch.setenv("TRIMTAB_REGISTRY", "mirror.example.com/ml")
    assert trimtab("compile", "--check").code == 0
    for option in (("--images", lock), ("--registry", "x.example.com"), ("--values", lock), ("--format", "kubernetes")):
        said = trimtab("compile", *option)
        assert (said.code, said.err) == (
            2, "error: a pipeline compiled for a cluster needs its own file: give --output FILE\n",
        )  # fmt: skip
    assert (COMPILED / "optimize.yaml").read_bytes() == before


def test_kubernetes_resources_are_written_for_a_namespace(trimtab: Trimtab, tmp_path: Path) -> None:
    said = trimtab("compile", "--output", "k.yaml", "--format", "kubernetes", "--namespace", "ml")
    assert said.code == 0
    pipeline, version = yaml.safe_load_all((tmp_path / "k.yaml").read_text())
    assert (pipeline["kind"], pipeline["metadata"]) == ("Pipeline", {"name": "optimize", "namespace": "ml"})
    assert version["metadata"]["name"] in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "helm"), "--format must be one of ir, kubernetes"),
        (("--namespace", "ml"), "give --format kubernetes"),
        (("--output", "x.yaml", "--values", "none.yaml"), "cannot be read: No such file"),
        (("--output", "x.yaml", "--images", "none.json"), "cannot be read: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    trimtab: Trimtab, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    said = trimtab("compile", *arguments)
    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "x.yaml").exists()


def test_a_local_run_of_the_result_warns_once_and_succeeds(trimtab: Trimtab, pipeline: str, tmp_path: Path) -> None:
    from pipelines.cluster.images import Images
    from pipelines.cluster.package import make_package, write_ir

    values = tmp_path / "values.yaml"
    values.write_text("""
defaults:
  nodeSelector: {pool: cpu}
  tolerations: [{operator: Exists}]
  imagePullSecrets: [registry]
  retry: {limit: 1}
  timeout: 10m
  accelerator: {type: nvidia.com/gpu, count: 1}
  ephemeralVolumes: [{name: scratch, mountPath: /scratch, size: 1Gi}]
""")
    write_ir(make_package(Path(pipeline), images=Images(), values=values), tmp_path / "ready.yaml")
    said = trimtab("run", "ready.yaml", "-p", "n=1")
    assert said.code == 0, said.err
    assert (said.out + said.err).count("settings for Kubernetes that mean nothing on one machine") == 1
