"""The contents of the images."""

import json
import subprocess
from pathlib import Path

import pytest

from components.core.tasks.parameters import FIRST, forms

pytestmark = pytest.mark.containers

ROLES = ("data", "train")
STAGES = {path.parent.name for path in (Path(__file__).resolve().parents[2] / "components").glob("*/component.py")}

INSTALLED = """
import importlib.metadata, json
print(json.dumps({d.metadata["Name"].lower().replace("_", "-").replace(".", "-"): d.version
                  for d in importlib.metadata.distributions()}))
"""
EVERY_FILE = """
import os, json
skip = ("/proc", "/sys", "/dev")
walk = [(top, names) for top, _, names in os.walk("/") if not top.startswith(skip)]
print(json.dumps([os.path.join(top, name) for top, names in walk for name in names]))
"""


def python(image: str, code: str) -> str:
    words = ["podman", "run", "--rm", "--network=none", "--read-only", image, "python3", "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def inspected(image: str) -> dict:
    words = ["podman", "image", "inspect", image]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)[0]


@pytest.mark.parametrize("role", ROLES)
def test_user_folder_and_labels(images: dict[str, str], role: str) -> None:
    found = inspected(images[role])
    assert found["Config"]["User"] == "10001:0"
    assert found["Config"]["WorkingDir"] == "/app"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in found["Labels"].items()}
    assert labels["title"] == f"trimtab/{role}"
    assert labels["version"] == "0.1.0"
    assert labels["licenses"] == "Apache-2.0"
    assert len(labels["revision"].removesuffix("-changed")) in {7, 40}  # `unknown`, or a commit
    assert labels["base.name"]
    assert not any("secret" in line or "cert" in line.lower() for line in found["Config"]["Env"])


@pytest.mark.parametrize("role", ROLES)
def test_the_bill_of_materials_lists_exactly_what_is_installed(images: dict[str, str], role: str) -> None:
    bill = json.loads(python(images[role], "print(open('sbom.cdx.json').read())"))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"].lower().replace("_", "-").replace(".", "-"): part["version"] for part in bill["components"]}
    installed = json.loads(python(images[role], INSTALLED))
    own = bill["metadata"]["component"]
    assert {**listed, own["name"]: own["version"]} == installed
    # Where each comes from, as a package URL, by which scanners know it.
    assert [part["name"] for part in bill["components"] if not part.get("purl", "").startswith("pkg:pypi/")] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_stages_are_named_for_kfp(images: dict[str, str], role: str) -> None:
    lines = python(images[role], "print(open('kfp_config.ini').read())").split("\n")
    assert lines[0] == "[Components]"
    named = dict(line.split(" = ") for line in lines[1:] if line)
    # The check of a form is called by the pipeline's name, but for the first.
    faces = [f"preflight__{pipeline}" for pipeline in forms() if pipeline != FIRST]
    assert named == {name: f"components/{name.partition('__')[0]}/component.py" for name in (*STAGES, *faces)}


@pytest.mark.parametrize("role", ROLES)
def test_no_compiler_cache_source_of_packages_or_gpu_library_is_left(images: dict[str, str], role: str) -> None:
    files = [Path(name) for name in json.loads(python(images[role], EVERY_FILE))]
    names = {file.name for file in files}
    assert not names & {"gcc", "cc", "g++", "c++", "clang", "ld", "make", "git"}
    ours = [file for file in files if file.parts[1] in {"app", "opt", "root", "src", "tmp"}]
    assert [file for file in ours if file.suffix == ".whl" or ".cache" in file.parts] == []
    gpu = ("libcud", "libcublas", "libnv", "libnccl", "libcufft", "libcurand", "libcusparse", "libcusolver")
    assert [file for file in files if ".so" in file.name and file.name.startswith(gpu)] == []
    assert {file.parts[1:3] for file in ours if file.parts[1] != "app"} == {("opt", "venv")}


def test_the_images_share_their_lower_layers(images: dict[str, str]) -> None:
    data, train = (inspected(images[role])["RootFS"]["Layers"] for role in ROLES)
    common = [layer for layer in data if layer in train]
    assert common == train[: len(common)]
    assert len(common) >= 2  # the base, and the packages that need no torch


def test_only_the_training_image_has_torch(images: dict[str, str]) -> None:
    installed = {role: json.loads(python(images[role], INSTALLED)) for role in ROLES}
    assert "torch" not in installed["data"]
    assert installed["train"]["torch"].endswith("+cpu")
    assert {**installed["train"], **installed["data"]} == installed["train"]


@pytest.mark.parametrize(("role", "limit_mb"), [("data", 550), ("train", 1450)])
def test_an_image_is_not_larger_than_the_readme_says(
    images: dict[str, str], base_image: str, role: str, limit_mb: int
) -> None:
    assert (inspected(images[role])["Size"] - inspected(base_image)["Size"]) / 1e6 < limit_mb
