"""The Containerfiles as texts: what linting finds, what is pinned, and what the images share."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components import images
from pipelines.runner.code.programs import _stages

FOLDER = Path(__file__).resolve().parents[2] / "images"
FILES = sorted(FOLDER.glob("*.Containerfile"))


def role_of(image: str) -> str:
    return image.partition(":")[0].removeprefix("trimtab/")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_base_is_pinned_by_digest_and_can_be_replaced(file: Path) -> None:
    lines = file.read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("ARG BASE_IMAGE=")]
    assert "@sha256:" in base
    starts = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert starts <= {"scratch", "$BASE_IMAGE", "tools", "common"}


def test_the_layers_that_need_no_torch_are_the_same_in_every_image() -> None:
    # A builder takes a layer again only if all that led to it is the same, to the letter.
    def start(file: Path) -> str:
        text = file.read_text()
        return text[text.index("ARG BASE_IMAGE") : text.index("\n\n", text.index("AS common"))]

    assert len({start(file) for file in FILES}) == 1


def images_of_stages() -> dict[str, str]:
    """Stage → the image that its component names."""
    found = {}
    for function, folder in _stages().items():
        component = getattr(importlib.import_module(f"components.{folder.name}.component"), function)
        found[function] = component.component_spec.implementation.container.image
    return found


def test_every_stage_names_an_image_that_there_is_a_containerfile_for() -> None:
    named = set(images_of_stages().values())
    assert named == {images.DATA_IMAGE, images.TRAIN_IMAGE}
    assert {role_of(image) for image in named} == {file.name.removesuffix(".Containerfile") for file in FILES}


def test_the_readme_says_which_stages_are_in_which_image() -> None:
    text = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| `trimtab/(\w+)` \| ([\w, ]+) \|", text, re.MULTILINE)
    told = {stage: role for role, stages in rows for stage in stages.split(", ")}
    assert told == {stage: role_of(image) for stage, image in images_of_stages().items()}


def test_no_module_of_a_stage_hides_one_that_libraries_import() -> None:
    # In an image, KFP's executor puts the stage's folder before everything else on Python's path.
    known = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()} - {"__init__"}
    modules = {path for folder in _stages().values() for path in folder.glob("*.py")}
    assert [f"{path.parent.name}/{path.name}" for path in modules if path.stem in known] == []
