"""The form that the pipeline UI shows: it is made of the compiled pipeline's inputs, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_pipelines import echoing
from kfp import compiler
from kfp_server import KfpServer

from components.preflight import plan
from pipelines.cli.catalog import COMPILED
from pipelines.cluster.client import Endpoint, connect
from pipelines.cluster.images import Images
from pipelines.cluster.package import make_package
from pipelines.cluster.submission import ensure_version, run_parameters, start_run
from pipelines.runner.run import run_pipeline

PIPELINES = sorted(COMPILED.glob("*.yaml"))


def inputs_of(path: Path) -> dict[str, Any]:
    definitions: dict[str, Any] = next(yaml.safe_load_all(path.read_text()))["root"].get("inputDefinitions", {})
    return definitions


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_every_field_is_flat_described_and_filled_in_or_optional(path: Path) -> None:
    definitions = inputs_of(path)
    assert "artifacts" not in definitions  # the form has no field for one
    for name, field in definitions["parameters"].items():
        assert field["parameterType"] in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST"), name
        assert field.get("isOptional"), f"{name} has no default"
        assert len(field.get("description", "")) > 10, f"{name} has no description"
        assert "\n" not in field["description"].strip() or len(field["description"]) < 400, name


def test_the_form_names_every_choice_that_the_first_task_knows() -> None:
    fields = inputs_of(COMPILED / "optimize.yaml")["parameters"]
    for name, choices in plan.CHOICES.items():
        for choice in choices:
            assert choice in fields[name]["description"], f"{name}: {choice}"


def test_the_first_task_is_given_every_field_and_waits_for_nothing() -> None:
    """What the form cannot check, preflight does, before anything that costs."""
    spec = next(yaml.safe_load_all((COMPILED / "optimize.yaml").read_text()))
    dags = (component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component)
    tasks = next(tasks for tasks in dags if "preflight" in tasks)
    first = tasks["preflight"]
    assert "dependentTasks" not in first
    given = {
        source["componentInputParameter"].removeprefix("pipelinechannel--")
        for source in first["inputs"]["parameters"].values()
    }
    assert given == set(spec["root"]["inputDefinitions"]["parameters"])
    for name, task in tasks.items():
        assert name == "preflight" or task.get("dependentTasks"), name


FALSE = {"n": "0", "mode": "", "scale": "0", "wanted": "false", "names": "[]", "settings": "{}"}


def test_values_that_are_false_arrive_in_the_task_as_they_were_given(
    kfp_server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the client, the API's JSON and KFP's executor; every default is another value."""
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    compiler.Compiler().compile(echoing, str(tmp_path / "echoing.yaml"))
    package = make_package(tmp_path / "echoing.yaml", images=Images(), values=None)
    client = connect(Endpoint(host=kfp_server.url))
    run_id = start_run(
        client, ensure_version(client, package), experiment="e", name="r", service_account="",
        parameters=run_parameters(package, FALSE),
    )  # fmt: skip
    arrived = kfp_server.objects["runs"][run_id]["runtime_config"]["parameters"]
    assert arrived == {"n": 0, "mode": "", "scale": 0, "wanted": False, "names": [], "settings": {}}

    def echoed(parameters: dict[str, Any]) -> str:
        return run_pipeline(tmp_path / "echoing.yaml", parameters, listener=lambda event: None).outputs["Output"]

    assert echoed(arrived) == "[0, '', 0.0, False, [], {}]"
    assert echoed({}) == "[7, 'well', 1.5, True, ['a'], {'a': 1}]"
