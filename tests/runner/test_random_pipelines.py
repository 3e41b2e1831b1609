"""Random pipelines: the runner agrees, task by task, with a small interpreter (`reference_interpreter.py`).

`python tests/benchmarks/random_pipelines.py` does the same for minutes, with other seeds, and shrinks what it finds.
"""

import tempfile
from pathlib import Path
from typing import Any

from agreement import compare
from described_pipelines import LostBySdk
from hypothesis import HealthCheck, Phase, example, given, reject, settings
from pipeline_descriptions import (
    PORTS,
    Branch,
    Call,
    Choice,
    Condition,
    Constant,
    Given,
    Handler,
    Item,
    Loop,
    Output,
    Pipeline,
    Task,
)
from random_pipelines import parameters, pipelines


def either(name: str, operator: str) -> Choice:
    """If the pipeline's number, which is 3 unless it is given, is (not) 3; else."""
    test = Condition(left=Given("number"), operator=operator, right=Constant(3))
    branches = (
        Branch(name=f"{name}.0", test=test, nodes=(Task(name=f"{name}a"),), offers=f"{name}a"),
        Branch(name=f"{name}.1", test=None, nodes=(Task(name=f"{name}b"),), offers=f"{name}b"),
    )
    return Choice(name=name, branches=branches)


def outputs_of(name: str) -> dict[str, Output]:
    return {port: Output(name, port) for port in PORTS}


SUCCEEDING = Pipeline(
    nodes=(
        Loop(
            name="loop", items=Constant([2, 5, 3]), offers="inside",
            nodes=(Task(name="inside", inputs={"number": Item("loop")}, fails=1, only_odd=True, retries=1),),
        ),
        Task(name="collecting", inputs={"items": Output("loop", "word"), "all_data": Output("loop", "out")}),
        either("first", "=="),
        either("second", "!="),
        Task(name="one", inputs={"word": Output("first", "word"), "data": Output("first", "out")}),
        Task(name="other", inputs={"word": Output("second", "word"), "data": Output("second", "out")}),
        Choice(name="no", branches=either("no", "!=").branches[:1]),
        Task(name="skipped", after=("no",)),
        Task(name="last", inputs={"number": Output("one", "number")}, after=("collecting",), always=True),
    ),
    outputs=outputs_of("last"),
)  # fmt: skip
FAILING = Pipeline(
    nodes=(
        Task(name="broken", fails=9, retries=1),
        Handler(
            name="never", nodes=(Task(name="unmet", inputs={"data": Output("broken", "out")}),),
            exit=Task(name="told-never", after=("never",), always=True, leaving=True, told=True),
        ),
        Handler(
            name="entered",
            nodes=(Task(name="mistaken", fails=9, mistake=True, retries=2, cpu="64"), Task(name="waiting", cpu="64")),
            exit=Task(name="told-entered", after=("entered",), always=True, leaving=True, told=True),
        ),
        Task(name="ignoring", inputs={"number": Output("broken", "number")}, always=True),
        Task(name="too-late", after=("ignoring",)),
    ),
    outputs=outputs_of("ignoring"),
)  # fmt: skip
UNEVEN = Pipeline(
    nodes=(
        Loop(
            name="uneven", items=Constant([0, 1, 2, 3]), offers="odd",
            nodes=(Task(name="odd", inputs={"number": Item("uneven")}, fails=9, only_odd=True),),
        ),
        Task(name="behind", inputs={"items": Output("uneven", "number")}),
        Task(name="regardless", inputs={"items": Output("uneven", "number")}, always=True),
    ),
    outputs=outputs_of("regardless"),
)  # fmt: skip
TOGETHER = Pipeline(
    nodes=(
        Call(name="good", pipeline=SUCCEEDING),
        Call(name="bad", pipeline=FAILING),
        Call(name="mixed", pipeline=UNEVEN),
        Task(name="end", inputs={"number": Output("good", "number")}),
        Task(name="end-of-bad", inputs={"number": Output("bad", "number")}),
        Task(name="end-of-mixed", inputs={"number": Output("mixed", "number")}),
    ),
    outputs=outputs_of("end"),
)


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@example(TOGETHER, {})
@given(pipelines(), parameters())
def test_the_runner_agrees_with_the_reference_interpreter(description: Pipeline, inputs: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            comparisons = compare(description, inputs, Path(folder))
        except LostBySdk:
            reject()
        differences = [line for comparison in comparisons for line in comparison.differences]
        assert not differences
