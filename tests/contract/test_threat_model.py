"""Every test that the threat model names is there: a claim about an attack is never older than its test."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "infra" / "decisions" / "2026-11-25-threat-model.md"


def test_each_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) >= 20
    missing = []
    for file, name in named:
        path = ROOT / file
        defined = (
            {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
            if path.is_file()
            else set()
        )
        if name not in defined:
            missing.append(f"{file}::{name}")
    assert missing == []
