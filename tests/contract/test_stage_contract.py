"""The promises of every stage; stages are found by their component.py, so that adding one needs no edit here."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import compiler, dsl

import components
from components.core.parameters import ADVANCED, MOST_FIELDS
from components.core.tasks.parameters import forms
from pipelines import compress, optimize, race, retrain
from pipelines.cli.catalog import compiled_names

PIPELINES = {**optimize.PIPELINES, **retrain.PIPELINES, **compress.PIPELINES, **race.PIPELINES}

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


def test_every_task_has_its_pipelines_and_they_are_compiled_and_nothing_else_is():
    assert set(PIPELINES) == set(forms())
    assert compiled_names() == sorted(PIPELINES)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_asks_in_a_few_plain_fields_with_defaults_and_one_for_all_others(pipeline):
    inputs = PIPELINES[pipeline].component_spec.inputs
    assert all(entry.description for entry in inputs.values())
    # The pipeline UI takes an input without a default for a missing one, optional or not.
    assert all(entry.optional and entry.default is not None for entry in inputs.values())
    assert inputs[ADVANCED].default == {}
    assert len(inputs) <= MOST_FIELDS + 1
    plain = {entry.type for name, entry in inputs.items() if name != ADVANCED}
    assert plain <= {"String", "Integer", "Float", "Boolean", "List[String]", "List[Float]"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_form_is_made_of_the_declaration(pipeline):
    inputs, fields = PIPELINES[pipeline].component_spec.inputs, forms()[pipeline].fields
    assert set(inputs) == {*fields, ADVANCED}
    assert {name: inputs[name].default for name in fields} == {name: one.default for name, one in fields.items()}
    description = PIPELINES[pipeline].description
    for one in forms()[pipeline].parameters:
        assert f"- {one.field or one.name}" in description
        assert one.text in description


def test_a_field_that_several_pipelines_have_means_the_same_in_all():
    for first in forms().values():
        for second in forms().values():
            for name in set(first.fields) & set(second.fields):
                one, other = first.fields[name], second.fields[name]
                assert (one.name, one.type, one.rule) == (other.name, other.type, other.rule)
                # What files a data set may be is each task's to say.
                assert one.text == other.text or (one.name == "dataset" and first.task != second.task)


def test_neither_a_pipeline_nor_a_stage_contains_the_name_of_a_task_or_unpacks_a_recipe():
    pipelines = list(Path(optimize.__file__).parent.glob("*.py"))
    unpacked = re.compile(r"\brecipe\.|\b(macs_fraction|student_size|scheme)\b")
    assert not [path for path in pipelines if unpacked.search(path.read_text())]
    tasks = {form.task for form in forms().values()}
    for path in [*pipelines, *HOUSE.glob("*/component.py")]:
        named = [task for task in tasks if re.search(rf"[\"'.]{task}[\"'.]", path.read_text())]
        assert not named, f"{path} names {named}"


def test_importing_the_stages_loads_nothing_heavy():
    script = "\n".join(f"import components.{stage}.component" for stage in STAGES)
    script += "\nimport sys\nprint(sorted({'torch', 'timm', 'onnxruntime', 'matplotlib', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
