"""`num_processes`: one parameter, handed to every task that trains."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import components
from components.core.results import recall
from components.core.tasks.parameters import forms
from components.distill.component import distill
from components.fine_tune.component import fine_tune
from pipelines.cli.catalog import COMPILED
from pipelines.cluster.task_inputs import tasks_of

TRAINED = {"optimize": 3, "retrain": 4, "compress": 1}
"""Tasks that train: fine-tuning, the baseline, distillation; in `retrain` the champion's fine-tuning too; in `compress`
distillation alone."""


@pytest.fixture(params=sorted(TRAINED))
def pipeline(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, next(yaml.safe_load_all((COMPILED / f"{request.param}.yaml").read_text()))


def test_it_is_one_if_it_is_left_alone(pipeline: tuple[str, dict[str, Any]]) -> None:
    assert forms()[pipeline[0]].advanced["num_processes"].default == 1
    assert "- num_processes (1)" in pipeline[1]["pipelineInfo"]["description"]


def test_every_task_that_trains_is_given_it(pipeline: tuple[str, dict[str, Any]]) -> None:
    name, spec = pipeline
    checked = object()
    tasks = tasks_of(spec, {}, {"preflight": {"num_processes": checked}})
    trained = [task for task in tasks if task.component in ("fine_tune", "distill")]
    assert len(trained) == TRAINED[name]
    assert all(task.parameters["num_processes"] is checked for task in trained)


@pytest.mark.parametrize("component", [fine_tune, distill], ids=lambda component: component.name)
def test_saying_that_it_is_one_leaves_the_result_under_the_key_that_it_had(component: Any) -> None:
    function = component.python_func.__wrapped__
    folder = Path(components.__file__).parent / function.__name__

    def key(**parameters: Any) -> str:
        return recall._key(function, folder, {"inputs": {"parameterValues": parameters}}, {}, 2)

    assert key() == key(num_processes=1)
    assert key() != key(num_processes=2)
