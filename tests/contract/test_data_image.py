"""Stages whose image has no torch and no onnxruntime import neither, at the top of any module that they name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "components"
STAGES = [path.parent.name for path in sorted(ROOT.glob("*/component.py")) if "DATA_IMAGE" in path.read_text()]
PROGRAM = """
import importlib, sys
for name in ("torch", "torchvision", "timm", "onnxruntime"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_the_data_image_needs_no_torch(stage: str) -> None:
    tree = ast.parse((ROOT / stage / "component.py").read_text())
    named = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    ours = [name for name in named if name.startswith("components.")]
    assert len(ours) >= 2
    done = subprocess.run([sys.executable, "-c", PROGRAM, *ours], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_such_stages() -> None:
    assert {"data_prep", "incumbent", "judge", "preflight"} <= set(STAGES)
