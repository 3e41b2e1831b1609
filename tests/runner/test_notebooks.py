"""`dsl.notebook_component`, compiled by the real SDK and run by kfp's own executor with nbclient and a kernel."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

CELLS = [
    (["parameters"], "word = 'default'\nitems = []"),
    ([], "import pathlib\nprint('in the kernel:', word)\ntotal = sum(items)"),
    ([], "assert total < 100, f'{total} is too much'\npathlib.Path(place).write_text(f'{word} {total}')"),
]


def notebook(folder: Path) -> str:
    cells = [
        {"cell_type": "code", "execution_count": None, "id": f"c{number}", "metadata": {"tags": tags}, "outputs": [],
         "source": source}
        for number, (tags, source) in enumerate(CELLS)
    ]  # fmt: skip
    path = folder / "sums.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return str(path)


@pytest.fixture
def sums(tmp_path: Path) -> Any:
    @dsl.notebook_component(notebook_path=notebook(tmp_path), base_image="python:3.11")
    def sums(word: str, items: list[int]) -> str:
        import pathlib
        import tempfile

        place = pathlib.Path(tempfile.mkdtemp()) / "result"
        dsl.run_notebook(word=word, items=items, place=str(place))
        return place.read_text()

    @dsl.pipeline(name="notebook")
    def pipeline(items: list[int]):
        sums(word="it's", items=items)

    return pipeline


def test_a_notebook_runs_with_its_parameters_and_tells_its_log_and_its_error(
    run: Callable[..., Any], sums: Any
) -> None:
    ran = run(sums, items="[1, 2]")
    assert ran.outputs("sums") == {"Output": "it's 3"}
    log = Path(ran.ended("sums").log).read_text()
    assert "in the kernel: it's" in log
    assert run(sums, items="[1, 2]").cached() == {"sums"}
    failed = run(sums, items="[99, 1]")
    assert failed.result.status == "failed"
    assert failed.ended("sums").error == "a cell of the notebook failed: AssertionError: 100 is too much"
