"""`num_processes`: one parameter, handed to every task that trains."""

from collections.abc import Iterator
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

TRAINED = {"optimize": 3, "retrain": 4, "compress": 1}
"""Tasks that train: fine-tuning, the baseline, distillation; in `retrain` the champion's fine-tuning too; in `compress`
distillation alone."""


def dags_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec["root"]["dag"]
    yield from (component["dag"] for component in spec["components"].values() if "dag" in component)


@pytest.fixture(params=sorted(TRAINED))
def pipeline(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, next(yaml.safe_load_all((COMPILED / f"{request.param}.yaml").read_text()))


def test_it_is_one_if_it_is_left_alone(pipeline: tuple[str, dict[str, Any]]) -> None:
    assert forms()[pipeline[0]].advanced["num_processes"].default == 1
    assert "- num_processes (1)" in pipeline[1]["pipelineInfo"]["description"]


def test_every_task_that_trains_is_given_it(pipeline: tuple[str, dict[str, Any]]) -> None:
    name, spec = pipeline
    trained = [
        task
        for dag in dags_of(spec)
        for task in dag["tasks"].values()
        if spec["components"][task["componentRef"]["name"]].get("executorLabel", "").rstrip("-0123456789")
        in ("exec-fine-tune", "exec-distill")
    ]
    assert len(trained) == TRAINED[name]
    for task in trained:
        source = task["inputs"]["parameters"]["num_processes"]
        assert "preflight" in str(source)
        assert str(source).endswith(("preflight-num_processes'}", "'producerTask': 'preflight'}}"))


@pytest.mark.parametrize("component", [fine_tune, distill], ids=lambda component: component.name)
def test_saying_that_it_is_one_leaves_the_result_under_the_key_that_it_had(component: Any) -> None:
    function = component.python_func.__wrapped__
    folder = Path(components.__file__).parent / function.__name__

    def key(**parameters: Any) -> str:
        return recall._key(function, folder, {"inputs": {"parameterValues": parameters}}, {}, 2)

    assert key() == key(num_processes=1)
    assert key() != key(num_processes=2)
