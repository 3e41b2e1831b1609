"""The form that the pipeline UI shows: it is made of the compiled pipeline's inputs, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_pipelines import echoing
from kfp import compiler
from kfp_server import KfpServer

from components.core.parameters import ADVANCED, MOST_FIELDS
from components.core.tasks.parameters import forms
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
def test_the_untouched_form_can_be_started(path: Path) -> None:
    """KFP 2.17 takes a field whose input has no default for missing, and disables its Start button."""
    definitions = inputs_of(path)
    assert "artifacts" not in definitions  # the form has no field for one
    fields = definitions["parameters"]
    assert len(fields) <= MOST_FIELDS + 1
    for name, field in fields.items():
        kinds = ("STRUCT",) if name == ADVANCED else ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST")
        assert field["parameterType"] in kinds, name
        assert "defaultValue" in field, name
        assert len(field["description"]) > 10, f"{name} has no description"
        assert "\n" not in field["description"], name
        # A back end of KFP 2.14 or 2.15 refuses a specification with a key that it does not know.
        assert "literals" not in field, name


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_description_names_every_field_every_key_and_every_choice(path: Path) -> None:
    spec = next(yaml.safe_load_all(path.read_text()))
    description = spec["pipelineInfo"]["description"]
    assert make_package(path, images=Images(), values=None).description == description
    for one in forms()[path.stem].parameters:
        (line,) = [line for line in description.splitlines() if line.startswith(f"- {one.field or one.name}")
                   and line[len(f"- {one.field or one.name}")] in ": "]  # fmt: skip
        assert all(choice in line for choice in one.choices), line


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_first_task_is_given_every_field_and_waits_for_nothing(path: Path) -> None:
    """Preflight checks what the form cannot, before anything that costs."""
    spec = next(yaml.safe_load_all(path.read_text()))
    dags = (component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component)
    tasks = next(tasks for tasks in dags if "preflight" in tasks)
    first = tasks["preflight"]
    assert "dependentTasks" not in first
    given = {source["componentInputParameter"] for source in first["inputs"]["parameters"].values()}
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
