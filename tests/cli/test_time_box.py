"""A search that is given a limit of time is the pipeline `race` of its task."""

import pytest

from components.core.errors import UserError
from components.core.tasks.parameters import forms
from pipelines.form_arguments import boxed, form_arguments


@pytest.mark.parametrize(("pipeline", "race"), [("optimize", "race"), ("segmentation", "race_segmentation")])
@pytest.mark.parametrize("name", ["time_limit_minutes", "budget_time_limit_minutes"])
def test_a_limit_of_time_leads_to_the_race_of_the_task(pipeline, race, name):
    given = {name: "5", "max_drop": "1"}
    assert boxed(pipeline, given) == (race, given)
    assert form_arguments(forms()[race], given) == {"budget_time_limit_minutes": 5.0, "budget_max_drop": 1.0}


@pytest.mark.parametrize("text", ["-1", "0", "0.0"])
def test_no_limit_is_the_search_as_it_was(text):
    assert boxed("optimize", {"time_limit_minutes": text, "epochs": "2"}) == ("optimize", {"epochs": "2"})
    assert boxed("optimize", {"epochs": "2"}) == ("optimize", {"epochs": "2"})


def test_a_task_without_a_race_says_so():
    with pytest.raises(UserError, match="time_limit_minutes: there is no search within a time limit for translation"):
        boxed("translation", {"time_limit_minutes": "5"})


def test_what_the_race_plans_is_not_asked():
    name, given = boxed("optimize", {"time_limit_minutes": "5", "epochs": "3"})
    with pytest.raises(
        UserError, match="epochs cannot be given together with time_limit_minutes, which plans it; give one of the two"
    ):
        form_arguments(forms()[name], given)
    with pytest.raises(UserError, match="time_limit_minutes must be greater than 0; got -3"):
        form_arguments(forms()[name], {"time_limit_minutes": "-3"})
