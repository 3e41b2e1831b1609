"""Parameters and the form: what is taken, what is refused, and what is said of it."""

import pytest

from components.core.errors import UserError
from components.core.parameters import ADVANCED, DECLARED, Form, Parameter, Range, with_defaults

EPOCHS = Parameter(name="epochs", field="train_epochs", type=int, default=3, rule=Range(low=0), text="How long.")
RATE = Parameter(name="rate", type=float, default=0.1, rule=Range(low=0, above=True), text="How fast.")
KIND = Parameter(name="kind", type=str, default="sgd", choices=("sgd", "adamw"), text="Which one.", part="training")
SOFT = Parameter(name="soft", type=str, default="row", text="Which loss.", part="distillation")
SHARES = Parameter(name="shares", type=list[float], default=[0.5], rule=Range(low=0, high=1), text="Which shares.")
FORM = Form(pipeline="p", task="t", parameters=(EPOCHS, RATE, KIND, SOFT, SHARES))


def test_what_is_not_given_has_its_default_and_every_value_has_its_flat_name():
    assert FORM.resolve({}, {}) == {"epochs": 3, "rate": 0.1, "kind": "sgd", "soft": "row", "shares": [0.5]}
    given = FORM.resolve({"train_epochs": 5}, {"rate": 1, "shares": [1, 0]})
    assert given == {"epochs": 5, "rate": 1.0, "kind": "sgd", "soft": "row", "shares": [1.0, 0.0]}
    assert [type(given[name]) for name in ("epochs", "rate")] == [int, float]


def test_an_integer_that_json_wrote_with_a_point_is_one():
    assert FORM.resolve({"train_epochs": 5.0}, {})["epochs"] == 5
    assert type(FORM.resolve({"train_epochs": 5.0}, {})["epochs"]) is int


@pytest.mark.parametrize(
    ("advanced", "message"),
    [
        ({"rat": 1}, "unknown key 'rat' in advanced; did you mean 'rate'?"),
        ({"epochs": 1}, "'epochs' does not belong in advanced; give it in the field train_epochs of the form"),
        ({"train_epochs": 1}, "'train_epochs' does not belong in advanced; give it in the field train_epochs"),
        ({"rate": "fast"}, "rate must be greater than 0; got 'fast'"),
        ({"rate": 0}, "rate must be greater than 0; got 0"),
        ({"rate": True}, "rate must be greater than 0; got True"),
        ({"kind": "sdg"}, "kind must be one of sgd, adamw; got 'sdg'; did you mean 'sgd'?"),
        ({"kind": 3}, "kind must be text; got 3"),
        ({"shares": 0.5}, "shares must be a list; got 0.5"),
        ({"shares": [0.5, 2]}, "shares must be between 0 and 1; got 2"),
        ({"rate": None}, "rate must be greater than 0; got None"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_in_one_line(advanced, message):
    with pytest.raises(UserError) as caught:
        FORM.resolve({}, advanced)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_an_epoch_is_no_integer():
    with pytest.raises(UserError, match=r"epochs must be an integer; got 1\.5"):
        FORM.resolve({"train_epochs": 1.5}, {})


def test_the_values_are_checked_against_each_other():
    form = Form(pipeline="p", task="t", parameters=(DECLARED["batch_size"], DECLARED["num_processes"]))
    with pytest.raises(UserError, match="num_processes must be a divisor of batch_size 64; got 5"):
        form.resolve({}, {"num_processes": 5})


def test_a_tasks_own_values_go_to_the_part_that_they_are_for():
    assert FORM.settings(FORM.resolve({}, {"kind": "adamw"})) == {
        "data_settings": {},
        "training_settings": {"kind": "adamw"},
        "network_settings": {},
        "distillation_settings": {"soft": "row"},
    }


def test_the_description_says_what_each_field_and_each_key_means():
    said = FORM.describe("Does it.")
    assert said.startswith("Does it.\n")
    assert "- train_epochs: How long." in said
    assert "- kind (sgd): Which one. One of sgd, adamw." in said
    assert (
        said.index("- train_epochs") < said.index(f"- {ADVANCED}:") < said.index("- kind") < said.index("- rate (0.1)")
    )


def test_a_task_changes_defaults_and_a_default_must_hold():
    (changed, same) = with_defaults((EPOCHS, RATE), epochs=9)
    assert (changed.default, same) == (9, RATE)
    with pytest.raises(UserError, match="epochs must be at least 0; got -1"):
        with_defaults((EPOCHS,), epochs=-1)
    with pytest.raises(KeyError):
        with_defaults((EPOCHS,), epoch=1)


def test_more_fields_than_a_form_has_room_for_are_noticed():
    many = tuple(
        Parameter(name=f"p{n}", field=f"p{n}", type=int, default=0, text="One of too many.") for n in range(15)
    )
    with pytest.raises(AssertionError, match="15 fields"):
        Form(pipeline="p", task="t", parameters=many)
