"""Random pipelines: the runner agrees, task by task, with a small interpreter (`reference_interpreter.py`).

`python tests/benchmarks/random_pipelines.py` does the same for minutes, with other seeds, and shrinks what it finds.
"""

import tempfile
from pathlib import Path
from typing import Any

from agreement import compare
from described_pipelines import LostBySdk
from hypothesis import HealthCheck, Phase, given, reject, settings
from pipeline_descriptions import Pipeline
from random_pipelines import parameters, pipelines


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(pipelines(), parameters())
def test_the_runner_agrees_with_the_reference_interpreter(description: Pipeline, inputs: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            comparisons = compare(description, inputs, Path(folder))
        except LostBySdk:
            reject()
        differences = [line for comparison in comparisons for line in comparison.differences]
        assert not differences
