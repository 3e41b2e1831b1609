"""No stage, page or pipeline knows a task or a metric by name: a new task changes nothing but its own folder."""

import ast
import re
from pathlib import Path

import pytest

import components
from components.core.tasks import TASKS, get_task

ROOT = Path(components.__file__).parents[1]
NEUTRAL = (
    *(path for path in sorted((ROOT / "components").glob("*/")) if path.name != "core"),
    *(ROOT / "components/core" / name for name in ("evaluation", "report", "runtime", "stage_pages", "store")),
    ROOT / "pipelines",
)  # fmt: skip
FILES = [
    path for folder in NEUTRAL for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".jinja", ".js", ".css")
]
PUBLISHED = {"ImageNet top-1", "top1_published"}
"""Figures that a backbone's authors have published; shown beside a candidate, whatever its task."""


def names() -> set[str]:
    """Every task, and every metric by name and label."""
    found = set(TASKS)
    for task in TASKS:
        for metric in get_task(task).metrics:
            found |= {metric.name, metric.label}
    return found


WORDS = re.compile(rf"(?<![\w-])({'|'.join(sorted(re.escape(name) for name in names()))})(?![\w-])", re.IGNORECASE)


def texts(path: Path) -> list[str]:
    """The words of a file's code: its constants without docstrings and defaults, its attributes and imports."""
    if path.suffix != ".py":
        return [path.read_text(encoding="utf-8")]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(node.value)
        if isinstance(node, ast.arguments):
            left_out |= {default for default in (*node.defaults, *node.kw_defaults) if default is not None}
    found = [
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out
    ]  # fmt: skip
    # A backbone's own top1 is published.
    found += [
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not ast.unparse(node.value).endswith("backbone")
    ]  # fmt: skip
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    found += [f"{getattr(node, 'module', None)} {name.name}" for node in imports for name in node.names]
    return [text for text in found if text not in PUBLISHED]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_outside_the_tasks_names_a_task_or_a_metric(path):
    said = [text for text in texts(path) if WORDS.search(text)]
    assert said == []


def test_the_search_finds_the_names_that_it_looks_for(tmp_path):
    assert {"classification", "top1", "top-1"} <= names()
    file = tmp_path / "stage.py"
    code = 'def f(task="classification"):\n    return document["top1"], x.top1, backbone.top1, "a top-1 of"\n'
    file.write_text(f'"""About top1."""\n{code}')
    assert sorted(text for text in texts(file) if WORDS.search(text)) == ["a top-1 of", "top1", "top1"]
