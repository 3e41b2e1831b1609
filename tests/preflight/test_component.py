"""The first task of every form: what it gives to the later tasks, and what it refuses."""

import importlib

import pytest

from components.core.errors import UserError
from components.core.parameters import ADVANCED
from components.core.tasks.parameters import forms
from components.preflight import component
from components.preflight.component import facts_of, preflight_of

each_pipeline = pytest.mark.parametrize("pipeline", forms())
KFP_TYPES = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN"}


@each_pipeline
def test_it_takes_the_form_and_gives_every_parameter_typed_under_its_flat_name(pipeline):
    spec, form = preflight_of(pipeline).component_spec, forms()[pipeline]
    assert set(spec.inputs) == {*form.fields, ADVANCED}
    assert all(entry.optional for entry in spec.inputs.values())
    assert set(spec.outputs) == {*(one.name for one in form.parameters), *facts_of(form)}
    made = preflight_of(pipeline).pipeline_spec.components["comp-preflight"].output_definitions.parameters
    for one in form.parameters:
        kind = made[one.name].DESCRIPTOR.fields_by_name["parameter_type"].enum_type
        assert kind.values_by_number[made[one.name].parameter_type].name == KFP_TYPES.get(one.type, "LIST")


@each_pipeline
def test_kfps_executor_finds_it_by_the_name_that_is_in_the_yaml(pipeline):
    container = preflight_of(pipeline).component_spec.implementation.container
    name = container.args[container.args.index("--function_to_execute") + 1]
    found = getattr(importlib.import_module("components.preflight.component"), name)
    assert found is preflight_of(pipeline)
    assert found.python_func.__name__ == name
    assert preflight_of(pipeline).component_spec.name == "preflight"


def test_there_is_no_function_for_a_pipeline_that_is_not_there():
    with pytest.raises(AttributeError, match="preflight__nothing"):
        component.__getattr__("preflight__nothing")


@pytest.mark.parametrize("pipeline", ["optimize", "retrain"])
def test_the_untouched_form_is_resolved_to_the_declared_defaults(pipeline):
    checked = preflight_of(pipeline).python_func()
    for one in forms()[pipeline].parameters:
        assert getattr(checked, one.name) == one.default
    assert checked.task == forms()[pipeline].task
    assert [recipe["macs_fraction"] for recipe in checked.recipes] == [0.58, 0.48]
    assert len(checked.dataset_state) == 64


def test_fields_and_advanced_come_out_side_by_side():
    checked = preflight_of("optimize").python_func(
        search_backbones=["efficientnet_lite0", " efficientnet_lite0"], search_prune_targets=[0.5, 1],
        advanced={"learning_rate": 1, "student_size": 32.0},
    )  # fmt: skip
    assert (checked.backbones, checked.prune_targets) == (["efficientnet_lite0"], [0.5, 1.0])
    assert (checked.learning_rate, checked.student_size) == (1.0, 32)
    assert [recipe["name"] for recipe in checked.recipes] == ["100% MACs, 32 px", "50% MACs, 32 px"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"advanced": {"learning_rte": 1}}, "unknown key 'learning_rte' in advanced; did you mean 'learning_rate'?"),
        ({"advanced": {"max_drop": 1}}, "give it in the field budget_max_drop of the form"),
        ({"advanced": {"champion": "c"}}, "unknown key 'champion' in advanced"),
        ({"budget_max_size_mb": 0}, "max_size_mb must be greater than 0, or -1 for no limit; got 0"),
        ({"budget_max_size_mb": 0.1}, "max_size_mb 0.1 cannot be met"),
        ({"search_prune_targets": [0]}, "prune_targets must be greater than 0 and at most 1; got 0"),
        ({"search_prune_targets": [1.2]}, "prune_targets must be greater than 0 and at most 1; got 1.2"),
        ({"search_prune_targets": ["a"]}, "prune_targets must be greater than 0 and at most 1; got 'a'"),
        ({"search_prune_targets": [True]}, "prune_targets must be greater than 0 and at most 1; got True"),
        ({"advanced": {"student_size": 96}}, "student_size 96 is larger than image_size 64"),
        ({"release_name": "../x"}, "release_name"),
        ({"search_backbones": ["eficientnet_lite0"]}, "did you mean 'efficientnet_lite0'?"),
        ({"data_slice_columns": "camera"}, "camera"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_else_starts(given, message):
    with pytest.raises(UserError) as caught:
        preflight_of("optimize").python_func(**given)
    assert message in str(caught.value)


def test_a_parameter_of_retraining_belongs_to_its_form():
    checked = preflight_of("retrain").python_func(retrain_action="skip", advanced={"min_growth": 1})
    assert (checked.action, checked.min_growth, checked.champion) == ("skip", 1.0, "champion")
    with pytest.raises(UserError, match=r"label_shift 0\.5 must be at most large_label_shift 0\.3"):
        preflight_of("retrain").python_func(advanced={"label_shift": 0.5})


def test_whole_weights_are_refused_by_name_where_they_do_not_belong(tmp_path):
    with pytest.raises(UserError, match="'fcn_resnet50' holds the weights of a whole network for 'segmentation'"):
        preflight_of("optimize").python_func(search_backbones=["fcn_resnet50"])
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "backbones:\n  unet: {task: segmentation, architecture: torchvision:unet, weights: none, licence: MIT,"
        " image_size: 64, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n"
    )
    with pytest.raises(UserError, match=r"backbone 'unet': whole weights are of .* got torchvision:unet"):
        preflight_of("segmentation").python_func(search_backbones=["unet"], advanced={"catalog": str(mine)})
    checked = preflight_of("segmentation").python_func(search_backbones=["fcn_resnet50"])
    assert checked.backbones == ["fcn_resnet50"]
