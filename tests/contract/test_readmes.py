"""A module that a README names is there: a file that moves takes its name in the texts along."""

import re
from pathlib import Path

import pytest

import components

ROOT = Path(components.__file__).parents[1]
ROOMS = ("components", "pipelines", "infra", "images", "tests")
MODULES = {
    f"/{path.relative_to(ROOT).as_posix()}" for room in ROOMS for path in (ROOT / room).rglob("*.py")
}  # fmt: skip
READMES = sorted([ROOT / "README.md", *(path for room in ROOMS for path in (ROOT / room).rglob("README.md"))])


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_readme_names_modules_that_are_there(readme: Path) -> None:
    # A release's own programs are made of `*.py.txt`; what a user calls his own catalog or script is no module.
    named = set(re.findall(r"`([\w/-]+\.py)`", readme.read_text(encoding="utf-8"))) - {"client.py", "self_test.py"}
    assert [name for name in sorted(named) if not any(module.endswith(f"/{name}") for module in MODULES)] == []
