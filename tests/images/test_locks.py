"""The lock files say what pyproject.toml says, each package once, and with digests."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "images" / "locks"
IMAGES = {
    "data": ("data",),
    "train on a CPU": ("data", "train", "torch-cpu"),
    "train on a GPU": ("data", "train", "torch-cuda"),
}
TRAIN_ONLY = {"torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "highspy"}


def locked(name: str) -> dict[str, str]:
    """Package → version of a lock file, which names each package once and gives it a digest at least."""
    text = (LOCKS / f"{name}.txt").read_text()
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        if block.startswith("#"):
            continue
        first = block.split()[0]
        package, _, version = first.partition("==")
        assert version, f"{name}: {first} is no exact version"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), f"{name}: {first} has no digest"
        assert package not in found, f"{name}: {package} stands there twice"
        found[package] = version
    return found


def dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("image", IMAGES)
def test_every_dependency_is_locked_to_a_version_that_pyproject_allows(image: str) -> None:
    versions = {package: version for lock in IMAGES[image] for package, version in locked(lock).items()}
    wanted = {canonicalize_name(item.name): item for item in dependencies()}
    left_out = {name for name in wanted if name not in versions}
    assert left_out == (TRAIN_ONLY if image == "data" else set()), "renew the locks: images/locks/renew.py"
    for name, item in wanted.items():
        if name in versions:
            assert item.specifier.contains(versions[name]), f"{name}: renew the locks (images/locks/renew.py)"


@pytest.mark.parametrize("image", IMAGES)
def test_no_package_comes_from_two_locks(image: str) -> None:
    packages = [package for lock in IMAGES[image] for package in locked(lock)]
    assert len(packages) == len(set(packages))


def test_the_lock_for_cpus_has_no_gpu_library_and_the_same_torch_as_the_other() -> None:
    cpu, gpu = locked("torch-cpu"), locked("torch-cuda")
    assert set(cpu) == {"torch", "torchvision"}
    assert cpu["torch"] == f"{gpu['torch']}+cpu"
    assert cpu["torchvision"].removesuffix("+cpu") == gpu["torchvision"]
    assert any(package.startswith("nvidia-") for package in gpu)
