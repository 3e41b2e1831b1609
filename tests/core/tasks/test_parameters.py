"""Tasks are found by their folders; each has a form for each of its pipelines."""

import subprocess
import sys

import pytest

from components.core.errors import UserError
from components.core.parameters import DECLARED, MOST_FIELDS, RELEASE, RETRAIN
from components.core.tasks import TASKS
from components.core.tasks.parameters import forms, parameters_of, task_names


def test_the_default_task_comes_first_and_its_pipelines_have_their_own_names():
    assert task_names()[0] == TASKS[0]
    assert list(forms())[:3] == ["optimize", "retrain", "compress"]
    for task in task_names()[1:]:
        assert {task, f"retrain_{task}"} <= set(forms())


@pytest.mark.parametrize("name", forms())
def test_every_form_has_few_fields_in_groups_and_every_parameter_is_explained(name):
    form = forms()[name]
    assert 8 <= len(form.fields) <= MOST_FIELDS
    groups = {field.partition("_")[0] for field in form.fields}
    assert groups <= {"budget", "data", "release", "search", "promote", "retrain", "model"}
    for parameter in form.parameters:
        assert len(parameter.text.split()) >= 4, parameter.name
        assert parameter.text.endswith("."), parameter.name
        for choice in parameter.choices:
            assert choice in parameter.described
    form.resolve({}, {})


@pytest.mark.parametrize("task", task_names())
def test_a_retraining_asks_the_same_but_for_the_name_and_its_own(task):
    names = {one.name for one in parameters_of(task)}
    own, releases = {one.name for one in RETRAIN}, {one.name for one in RELEASE}
    mine = {form.kind: form for form in forms().values() if form.task == task}
    first, retraining = mine["optimize"], mine["retrain"]
    assert {one.name for one in first.parameters} == names | releases
    assert {one.name for one in retraining.parameters} == names | own
    fields = {one.name: one.field for one in first.parameters}
    assert all(one.field in (None, fields.get(one.name, one.field)) for one in retraining.parameters)


@pytest.mark.parametrize("task", task_names())
def test_a_task_changes_defaults_and_never_type_or_rule_of_a_shared_parameter(task):
    for parameter in parameters_of(task):
        shared = DECLARED.get(parameter.name, parameter)
        assert (parameter.type, parameter.rule, parameter.choices) == (shared.type, shared.rule, shared.choices)
        assert parameter.name in DECLARED or parameter.part, f"{parameter.name}: nothing would take it"


def test_an_unknown_task_gets_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown task 'clasification'; did you mean 'classification'\?"):
        parameters_of("clasification")


def test_the_declaration_loads_neither_torch_nor_kfp():
    script = "import sys, components.core.tasks.parameters as p; p.forms()\n"
    script += "print(sorted({'torch', 'kfp', 'pyarrow', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
