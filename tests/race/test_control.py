"""The control of a race: which stock backbone it is, and that its student starts from it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from components.core.artifacts.manifest import publish
from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.recipe import CONTROL, Recipe
from components.core.store import open_store
from components.plan import control
from components.plan.candidates import Candidate
from components.plan.control import Control, next_smaller, smaller_backbones, with_control
from components.prune.component import prune

LITE = [f"efficientnet_lite{number}" for number in range(3)]


def names(selected, catalog, task="classification"):
    return [one.name for one in smaller_backbones(selected, catalog, task=task)]


def test_the_next_smaller_one_comes_first_and_only_what_is_at_hand_counts(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    own = tmp_path / "catalog.yaml"
    entry = "architecture: timm:resnet18, licence: MIT, image_size: 64, mean: [0, 0, 0], std: [1, 1, 1]"
    own.write_text(
        "backbones:\n"
        f"  small: {{{entry}, weights: 'file:w.pth', sha256: {'a' * 64}, parameters: 100}}\n"
        f"  gone: {{{entry}, weights: 'file:gone.pth', sha256: {'a' * 64}, parameters: 200}}\n"
        f"  blank: {{{entry}, weights: none, parameters: 300}}\n"
        f"  unknown: {{{entry}, weights: 'file:w.pth', sha256: {'a' * 64}}}\n"
        f"  whole: {{{entry}, weights: 'file:w.pth', sha256: {'a' * 64}, parameters: 400, task: segmentation}}\n"
    )
    catalog = load_catalog(own)
    assert names(LITE[2], catalog) == [LITE[1], LITE[0], "small"]
    assert names(LITE[0], catalog) == ["small"]
    assert names(LITE[0], catalog, task="segmentation") == ["whole", "small"]
    assert names(LITE[0], load_catalog()) == []
    # What was downloaded came from somewhere that answers: the same place is asked again.
    reference = sorted(
        (one.parameters, one.name)
        for one in catalog.values()
        if one.weights.startswith("torchvision:") and not one.task and one.parameters < catalog["resnet18"].parameters
    )
    found = names("resnet18", catalog)
    assert [one for one in found if one not in [*LITE, "small"]] == [name for _, name in reversed(reference)]
    assert {*LITE, "small"} <= set(found)


def selected_network(catalog, name):
    """As much of a selected network as is asked for, and a task that makes networks of a multiply-accumulate per
    parameter, all of which but `broken` can be loaded."""

    def load_pretrained(module, backbone, classes):
        if backbone.name == "broken":
            raise UserError("the file is cut off")

    task = SimpleNamespace(
        candidates=lambda backbones, settings: [(one.name, one, {}) for one in backbones],
        load_pretrained=load_pretrained,
    )
    inputs = [SimpleNamespace(sizes=lambda _: (1, 3, 64, 64))]
    architecture = SimpleNamespace(backbone=name, options={})
    module = SimpleNamespace(macs=catalog[name].parameters, eval=lambda: None)
    return SimpleNamespace(architecture=architecture, task=task, inputs=inputs, module=module)


@pytest.fixture
def made(monkeypatch):
    sides = []

    def fresh(task, backbone, options, dataset, *, image_size, seed, settings):
        sides.append(image_size)
        module = SimpleNamespace(macs=backbone.parameters, eval=lambda: None)
        return SimpleNamespace(module=module, inputs=None, name=backbone.name)

    monkeypatch.setattr(control, "fresh_bundle", fresh)
    monkeypatch.setattr(control, "count_macs", lambda module, inputs: module.macs)
    return sides


DATASET = SimpleNamespace(task="classification", classes=["a", "b"])
BASE = Recipe(name="base", more={"k": 1})


def test_the_control_is_whole_and_at_the_selected_input_size(made):
    catalog = load_catalog()
    found = next_smaller(selected_network(catalog, LITE[2]), DATASET, catalog, BASE, seed=0, settings={})
    recipe = found.candidate.recipe
    assert (recipe.macs_fraction, recipe.student_size, recipe.scheme) == (1.0, 0, "int8")
    assert recipe.more == {"k": 1, CONTROL: LITE[1]}
    assert found.bundle.name == LITE[1]
    assert made == [64]
    assert found.candidate.work == pytest.approx(catalog[LITE[1]].parameters / catalog[LITE[2]].parameters)
    assert found.candidate.contender.stock


def test_one_that_cannot_be_loaded_gives_way_to_the_next_and_without_any_the_reason_is_said(made):
    catalog = load_catalog()
    broken = replace(catalog[LITE[0]], name="broken", parameters=5_000_000)
    found = next_smaller(
        selected_network(catalog, LITE[1]), DATASET, {**catalog, "broken": broken}, BASE, seed=0, settings={}
    )
    assert found.bundle.name == LITE[0]
    smaller = {**catalog, "broken": replace(broken, parameters=1_000_000)}
    none = next_smaller(selected_network(catalog, LITE[0]), DATASET, smaller, BASE, seed=0, settings={})
    assert (none.bundle, none.candidate) == (None, None)
    assert none.said == (
        "There is no control: the catalog has no backbone smaller than efficientnet_lite0; none could be loaded "
        "(broken: the file is cut off)."
    )
    bare = next_smaller(selected_network(catalog, LITE[0]), DATASET, catalog, BASE, seed=0, settings={})
    assert bare.said == (
        "There is no control: the catalog has no backbone smaller than efficientnet_lite0 whose weights are at hand."
    )


def test_the_control_is_among_the_two_that_run_in_any_time_box():
    tried = [Candidate(recipe=Recipe(name=name), work=1.0) for name in "abc"]
    one = Candidate(recipe=Recipe(name="stock"), work=0.8)
    assert [one.recipe.name for one in with_control(tried, Control(said="", candidate=one))] == ["a", "stock", "b", "c"]
    assert with_control(tried, Control(said="none")) == tried


def test_a_student_that_is_the_control_starts_from_the_stock_network(tmp_path, monkeypatch):
    """Neither is of the kind that is wanted: the message names the kind of the one that was opened."""
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    store = open_store(str(tmp_path / "store"))
    places = {}
    for name in ("ranking", "curves"):
        places[name] = SimpleNamespace(path=str(tmp_path / name), metadata={})
        publish(places[name].path, kind=name, files={"f": name.encode()}, metadata={}, store=store)
    monkeypatch.setattr("components.core.data.dataset.open_dataset", lambda *_: None)
    for recipe, read in (({"name": "r"}, "ranking"), ({"name": "r", CONTROL: "x"}, "curves")):
        with pytest.raises(UserError, match=f"got '{read}'"):
            prune.python_func(
                dataset=SimpleNamespace(path=""), model=places["ranking"], control=places["curves"], recipe=recipe,
                pruned=None, metrics=None, page=None,
            )  # fmt: skip
