"""The graph that the pipeline UI shows, read from the compiled pipelines: keys, inputs, arrows and size."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli.catalog import COMPILED
from pipelines.cluster.task_inputs import tasks_of

COMPILED_PIPELINES = sorted(COMPILED.glob("*.yaml"))
MOST_TASKS = 12
MOST_NODES = 20
"""Tasks and their artifacts: what a screen shows of one graph without scrolling far."""


@pytest.fixture(scope="module", params=COMPILED_PIPELINES, ids=lambda path: path.stem)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    path: Path = request.param
    document: dict[str, Any] = next(yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return document


def graphs(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(component, its tasks by key) of the root and of every graph inside it."""
    for name, component in {"root": spec["root"], **spec["components"]}.items():
        if "dag" in component:
            yield name, component["dag"]["tasks"]


def artifacts_of(spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    component = spec["components"][task["componentRef"]["name"]]
    found: dict[str, Any] = component.get("outputDefinitions", {}).get("artifacts", {})
    return found


def test_every_key_is_a_name_that_a_person_reads(spec):
    for graph, tasks in graphs(spec):
        for key, task in tasks.items():
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", key), f"{key} in {graph}"
            assert not re.match(r"exit-handler|condition|for-loop", key), f"{key} in {graph}"
            assert re.sub(r"[ -]+", "-", task["taskInfo"]["name"].lower()) == key


def test_no_input_or_output_is_called_after_the_compilers_channels(spec):
    assert "pipelinechannel" not in yaml.dump(spec)
    loops = [task for _, tasks in graphs(spec) for task in tasks.values() if "parameterIterator" in task]
    items = {task["parameterIterator"]["itemInput"] for task in loops}
    assert items == {"recipes_item", "parts_item"} | ({"finalists_item"} if len(loops) > 2 else set())
    for task in loops:
        component = spec["components"][task["componentRef"]["name"]]
        assert task["parameterIterator"]["itemInput"] in component["inputDefinitions"]["parameters"]


def test_no_task_is_given_two_outputs_of_one_name(spec):
    """The UI draws one arrow for an output's name and the task that it goes to."""
    for graph, tasks in graphs(spec):
        for key, task in tasks.items():
            origins: dict[str, str] = {}
            for source in task.get("inputs", {}).get("artifacts", {}).values():
                made = source.get("taskOutputArtifact")
                if made:
                    producer = origins.setdefault(made["outputArtifactKey"], made["producerTask"])
                    assert producer == made["producerTask"], f"{made['outputArtifactKey']} twice into {key} of {graph}"


def test_each_graph_fits_a_screen(spec):
    for graph, tasks in graphs(spec):
        assert len(tasks) <= MOST_TASKS, graph
        assert len(tasks) + sum(len(artifacts_of(spec, task)) for task in tasks.values()) <= MOST_NODES, graph


def test_each_stage_is_known_by_its_function_wherever_it_stands(spec):
    """The compiler numbers a component that is there twice, also within a number: `comp-fine-tune-2-2`."""
    stages = {path.parent.name for path in (COMPILED.parent.parent / "components").glob("*/component.py")}
    assert {task.component for task in tasks_of(spec, {})} <= stages
