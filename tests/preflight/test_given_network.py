"""A user's own network at the first task: what it gives, and what it refuses in one line before anything runs long."""

import json

import pytest
from own_checkpoint import LABELS, OwnNetwork

from components.core.errors import UserError
from components.core.parameters import ADVANCED
from components.core.tasks.parameters import forms
from components.preflight.component import preflight_of


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))


def checked(own_network: OwnNetwork, **changed: str):
    """The first task on the command line's flat names."""
    form = forms()["compress"]
    flat = {one.name: one for one in form.parameters}
    fields, advanced = {}, {}
    for name, text in own_network.parameters(**changed).items():
        value = text if flat[name].type is str else json.loads(text)
        value = [value] if name == "prune_targets" else value
        if flat[name].field:
            fields[flat[name].field] = value
        else:
            advanced[name] = value
    return preflight_of("compress").python_func(**fields, **{ADVANCED: advanced})


def test_it_gives_the_classes_in_the_models_order_to_the_data_preparation(own_network: OwnNetwork) -> None:
    found = checked(own_network)
    assert found.classes == found.data_settings["classes"] == LABELS
    assert len(found.model_state) == 64


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": "rows,columns,dots"}, "last layer 'fc' has 2 outputs, but labels has 3 class names"),
        ({"labels": "rows,dots"}, "has 'columns', which the model does not know; its classes are 'rows', 'dots'"),
        ({"labels": ""}, "labels is empty, and the checkpoint holds no class names"),
        ({"architecture": "timm:test_byobnet"}, "does not fit architecture timm:test_byobnet: it has no"),
        ({"architecture": "timm:resnet999"}, "timm has no model 'resnet999'"),
        ({"architecture": ""}, "architecture is empty; name the network that"),
        ({"model": "nowhere.pth"}, "model nowhere.pth: there is no such file"),
        ({"model": ""}, "model is empty; give a checkpoint"),
        ({"model": "own/1234"}, "model 'own/1234' is neither a file"),
        ({"mean": "[0.5]"}, "mean must be three numbers"),
        ({"prune_targets": "0.8", "round_to": "4096"}, "(torchvision:resnet18) cannot be pruned: at most 0%"),
    ],
)
def test_a_mistake_is_one_line(own_network: OwnNetwork, changed, message) -> None:
    with pytest.raises(UserError) as refused:
        checked(own_network, **changed)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
