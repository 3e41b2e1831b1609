"""What every stage promises; stages are found by their component.py, so that adding one needs no edit here."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import compiler, dsl

import components
from pipelines.cli.catalog import PIPELINES, compiled_names

HOUSE = Path(components.__file__).parent
STAGES = sorted(path.parent.name for path in HOUSE.glob("*/component.py"))


def component_of(stage: str) -> dsl.base_component.BaseComponent:
    module = importlib.import_module(f"components.{stage}.component")
    found = [value for value in vars(module).values() if isinstance(value, dsl.base_component.BaseComponent)]
    assert len(found) == 1, f"{stage}/component.py defines {len(found)} components"
    return found[0]


def test_the_stages_of_the_design_are_found():
    assert {
        "data_prep", "backbone_selection", "fine_tune", "prune", "distill", "quantize", "evaluate", "export",
    } <= set(STAGES)  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_method_card(stage):
    card = (HOUSE / stage / "README.md").read_text()
    assert card.startswith("# ")
    assert len(card.split()) > 80


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_like_its_folder_and_compiles(stage, tmp_path):
    component = component_of(stage)
    assert component.python_func.__name__ == stage
    compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
    assert stage in (tmp_path / "component.yaml").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_from_its_image_and_carries_no_source(stage):
    container = component_of(stage).component_spec.implementation.container
    assert container.image.startswith("trimtab/")
    assert container.command == ["python3", "-m", "kfp.dsl.executor_main"]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "preflight"])
def test_every_parameter_and_artifact_of_a_stage_is_documented(stage):
    function = component_of(stage).python_func
    documented = inspect.getdoc(function) or ""
    missing = [name for name in inspect.signature(function).parameters if f"\n    {name}: " not in documented]
    assert not missing


def test_every_pipeline_is_compiled_and_nothing_else_is():
    assert compiled_names() == sorted(PIPELINES)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_parameter_of_a_pipeline_is_documented_and_has_a_default(pipeline):
    spec = getattr(importlib.import_module(f"pipelines.{pipeline}"), pipeline).component_spec
    undocumented = [name for name, entry in spec.inputs.items() if not entry.description]
    assert not undocumented
    assert all(entry.optional for entry in spec.inputs.values())


def test_the_preflight_task_checks_every_parameter_of_the_pipeline():
    from components.preflight.component import preflight
    from pipelines.optimize import optimize

    assert set(preflight.component_spec.inputs) == set(optimize.component_spec.inputs)


def test_the_first_tasks_of_a_retraining_check_every_parameter_of_it():
    from components.incumbent.component import incumbent
    from components.preflight.component import preflight
    from pipelines.retrain import retrain

    checked = set(preflight.component_spec.inputs) | set(incumbent.component_spec.inputs)
    # The release keeps the name of the champion's, so nobody is asked for it.
    assert checked - {"release_name"} == set(retrain.component_spec.inputs)


def test_a_parameter_that_both_pipelines_have_means_the_same_in_both():
    from pipelines.optimize import optimize
    from pipelines.retrain import retrain

    ours, theirs = retrain.component_spec.inputs, optimize.component_spec.inputs
    common = set(ours) & set(theirs)
    assert len(common) > 40
    assert {name: ours[name] for name in common} == {name: theirs[name] for name in common}


def test_importing_the_stages_loads_nothing_heavy():
    script = "\n".join(f"import components.{stage}.component" for stage in STAGES)
    script += "\nimport sys\nprint(sorted({'torch', 'timm', 'onnxruntime', 'matplotlib', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
