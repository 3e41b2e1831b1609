"""Widths by the exact choice, from artifacts to artifacts."""

from pathlib import Path

import pytest

from components.core.artifacts.manifest import read_manifest
from components.core.errors import UserError
from components.core.parameters import Form
from components.core.tasks.translation.parameters import PARAMETERS
from components.prune.component import prune
from components.prune.config import PruneConfig
from components.prune.pruning import prune_bundle

SOURCE = "timm:test_efficientnet"


def config(**changes):
    values = {"macs_fraction": 0.7, "importance": "taylor", "round_to": 8, "calibration_images": 64, "seed": 0}
    return PruneConfig(**(values | {"prune_allocation": "exact"} | changes))


def test_the_limit_holds_and_the_result_says_what_was_chosen(make_bundle, dataset):
    result = prune_bundle(make_bundle(SOURCE), dataset, config(), report=lambda line: None)
    assert result.macs_fraction <= 0.7
    assert all(kept == total or kept % 8 == 0 for kept, total in result.groups.values())
    found = result.sensitivity
    assert set(found.curves) == set(result.groups)
    assert found.removed == {name: total - kept for name, (kept, total) in result.groups.items()}
    assert found.measured > 0
    assert result.facts()["divergence"] == found.measured


def test_the_stage_shows_the_curves_and_keeps_them_with_the_model(run_stage, dataset_path, make_bundle, save_bundle):
    inputs = {"dataset": dataset_path, "model": save_bundle(make_bundle(SOURCE))}
    recipe = {"name": "r", "macs_fraction": 0.7, "prune_allocation": "exact"}
    outputs = run_stage(prune, inputs=inputs, recipe=recipe, calibration_images=64, round_to=8)
    page = Path(outputs["page"].path).read_text()
    assert "divergence on training images" in page
    kept = read_manifest(outputs["pruned"].path, kind="model").metadata["divergences"]
    assert kept
    assert all(curve[0] == [0, 0] for curve in kept.values())


def test_a_fraction_out_of_reach_is_refused_with_the_least_there_is(make_bundle, dataset):
    with pytest.raises(UserError, match=r"macs_fraction 0.01 cannot be reached: pruning leaves at least (0\.\d{4}) of"):
        prune_bundle(make_bundle(SOURCE), dataset, config(macs_fraction=0.01), report=lambda line: None)


def test_an_unknown_way_is_refused():
    with pytest.raises(UserError, match="prune_allocation must be one of greedy, exact; got 'best'"):
        config(prune_allocation="best")


def test_translation_has_no_channels_to_divide():
    form = Form(pipeline="p", task="translation", parameters=PARAMETERS)
    with pytest.raises(UserError, match="unknown key 'prune_allocation' in advanced"):
        form.resolve({}, {"prune_allocation": "exact"})
