"""The recurring run as an object: a pipeline and parameters that exist, and nothing that starts by accident."""

import json

import pytest
import yaml
from manifests.objects import INFRA, Object, of_kind

NOBODYS = "00000000-0000-0000-0000-000000000000"
# What a JSON value of each of KFP's parameter types is in Python.
TYPES = {
    "STRING": str,
    "BOOLEAN": bool,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "LIST": list,
    "STRUCT": dict,
}


@pytest.fixture(scope="module")
def spec(rendered: dict[str, list[Object]]) -> Object:
    (schedule,) = of_kind(rendered["schedule"], "ScheduledWorkflow")
    return schedule["spec"]


def test_it_is_off_until_the_ids_are_somebodys(spec: Object):
    assert {spec["experimentId"], spec["pipelineId"]} == {NOBODYS}
    assert spec["enabled"] is False


def test_its_parameters_are_the_pipelines(spec: Object):
    compiled = INFRA.parent / "pipelines" / "compiled" / f"{spec['pipelineName']}.yaml"
    known = next(yaml.safe_load_all(compiled.read_text()))["root"]["inputDefinitions"]["parameters"]

    for parameter in spec["workflow"]["parameters"]:
        value = json.loads(parameter["value"])
        assert isinstance(value, TYPES[known[parameter["name"]]["parameterType"]]), parameter


def test_two_runs_never_meet_and_a_missed_week_is_not_made_up_for(spec: Object):
    assert spec["maxConcurrency"] == 1
    assert spec["noCatchup"] is True
