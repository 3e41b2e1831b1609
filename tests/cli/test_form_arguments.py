"""The flat names of the command line, and the form of the pipeline that they fill."""

import pytest
import yaml

from components.core.errors import UserError
from components.core.parameters import ADVANCED
from components.core.tasks.parameters import forms
from pipelines.cli.catalog import COMPILED
from pipelines.form_arguments import form_arguments, form_of, name_and_inputs, resolved

OPTIMIZE, RETRAIN = forms()["optimize"], forms()["retrain"]


def test_flat_names_go_to_their_field_or_into_advanced():
    given = {
        "learning_rate": "0.01",
        "max_drop": "1",
        "dataset": "photos/",
        "backbones": "a,b",
        "budget_max_size_mb": "3",
    }
    assert form_arguments(OPTIMIZE, given) == {
        "budget_max_drop": 1.0, "data_source": "photos/", "search_backbones": ["a", "b"], "budget_max_size_mb": 3.0,
        ADVANCED: {"learning_rate": 0.01},
    }  # fmt: skip


def test_nothing_given_leaves_the_form_untouched_and_an_empty_number_is_nothing():
    assert form_arguments(OPTIMIZE, {}) == {}
    assert form_arguments(OPTIMIZE, {"max_drop": "", "seed": "", ADVANCED: ""}) == {}
    assert form_arguments(OPTIMIZE, {"catalog": ""}) == {ADVANCED: {"catalog": ""}}


def test_advanced_may_be_given_as_json_beside_flat_names():
    given = {ADVANCED: '{"batch_size": 32, "momentum": 0.5}', "head_epochs": "3"}
    assert form_arguments(OPTIMIZE, given) == {ADVANCED: {"batch_size": 32, "momentum": 0.5, "head_epochs": 3}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_drop": "1", "budget_max_drop": "2"}, "max_drop is given twice, as max_drop and as budget_max_drop"),
        ({ADVANCED: '{"momentum": 0.5}', "momentum": "0.6"}, "momentum is given twice, as advanced with 'momentum'"),
        ({"learning_rte": "1"}, "unknown parameter 'learning_rte'; did you mean 'learning_rate'?"),
        ({"budget_max_drp": "1"}, "unknown parameter 'budget_max_drp'; did you mean 'budget_max_drop'?"),
        ({"champion": "c"}, "unknown parameter 'champion'"),
        ({"epochs": "many"}, "parameter 'epochs' must be an integer, got 'many'"),
        ({"batch_size": "1.5"}, "parameter 'batch_size' must be an integer, got '1.5'"),
        ({ADVANCED: "[1]"}, "parameter 'advanced' must be a JSON object"),
        ({ADVANCED: '{"epochs": 1}'}, "'epochs' does not belong in advanced; give it in the field search_epochs"),
        ({"max_latency_ms": "0"}, "max_latency_ms must be greater than 0, or -1 for no limit; got 0.0"),
        ({"schedule": "linear"}, "must be one of polynomial, step, cosine, constant, inverse_sqrt; got 'linear'"),
        ({"num_processes": "5"}, "num_processes must be a divisor of batch_size 64; got 5"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(given, message):
    with pytest.raises(UserError) as caught:
        form_arguments(OPTIMIZE, given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_pipeline_knows_its_own_names_only():
    assert form_arguments(RETRAIN, {"champion": "c", "epochs": "1"}) == {
        "promote_champion": "c",
        ADVANCED: {"epochs": 1},
    }
    with pytest.raises(UserError, match="unknown parameter 'release_name'"):
        form_arguments(RETRAIN, {"release_name": "m"})


@pytest.mark.parametrize("name", forms())
def test_every_flat_name_reaches_its_place_and_the_value_that_the_first_task_gives(name):
    form = forms()[name]
    for one in form.parameters:
        # Nothing between the commas would be nothing given.
        text = (",".join(map(str, one.default)) or "[]") if isinstance(one.default, list) else str(one.default)
        given = form_arguments(form, {one.name: text})
        assert given == ({one.field: one.default} if one.field else {ADVANCED: {one.name: one.default}})
        assert resolved(form, given)[one.name] == one.default


def test_a_pipeline_of_another_version_or_of_somebody_else_is_taken_as_it_is():
    assert form_of("optimize", [*OPTIMIZE.fields, ADVANCED]) is OPTIMIZE
    assert form_of("optimize", ["dataset", "epochs"]) is None
    assert form_of("mine", [*OPTIMIZE.fields, ADVANCED]) is None


@pytest.mark.parametrize("path", [COMPILED / f"{name}.yaml" for name in forms()], ids=lambda path: path.stem)
def test_every_compiled_pipeline_is_known_by_the_name_that_kfp_gave_it(path):
    spec = next(yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    assert form_of(*name_and_inputs(spec)) is forms()[path.stem]
