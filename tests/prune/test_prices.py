"""Pruning by what channels cost in time."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from components.core.errors import UserError
from components.core.parameters import Form
from components.core.pruning.costs import layer_costs
from components.core.pruning.latency_table import LatencyTable, LayerTimes
from components.core.pruning.plan import MAX_RATIO, block_sizes, plan_removal
from components.core.tasks.translation.parameters import PARAMETERS
from components.prune import prices
from components.prune.component import prune
from components.prune.config import PruneConfig
from components.prune.importance import per_cost
from components.prune.prices import prices_of, us_per_channel
from components.prune.pruning import prune_bundle

CONFIG = PruneConfig(
    macs_fraction=0.7, importance="magnitude", round_to=16, calibration_images=64, seed=0, prune_price="latency"
)
SLOW = "blocks.1"
"""The layers of which the made-up host is slow."""


def made_up(module, groups, layers, **_):
    """Nanoseconds for each thousand MACs: 10, and 400 in `SLOW`; half of it does not depend on the width."""
    return LatencyTable(
        layers=tuple(
            LayerTimes(
                name=one.name,
                pairs=one.pairs,
                depthwise=one.depthwise,
                points=tuple(
                    (*one.channels(gone), (one.macs({}) + one.macs(gone)) * (0.2 if SLOW in one.name else 0.005) / 1000)
                    for gone in ({}, {group.name: group.channels - 1 for group in groups})
                ),
            )
            for one in layers
        ),
        rest_us=1.0,
        scheme="int8",
        threads=1,
        batch=1,
        host={"processor": "slow one", "versions": {"onnxruntime": "9"}},
    )


@pytest.fixture
def host(monkeypatch):
    """A host of which the tables are made up; how often one was measured."""
    calls = []

    def measure_table(*args, **keywords):
        calls.append(keywords)
        return made_up(*args, **keywords)

    monkeypatch.setattr(prices, "measure_table", measure_table)
    return calls


def test_the_price_of_a_channel_is_the_mean_over_all_that_may_go():
    group = SimpleNamespace(name="g", channels=40)
    kernel_steps = {0: 100.0, 8: 100.0, 16: 80.0, 24: 76.0, 32: 60.0}  # by channels gone
    assert us_per_channel(lambda gone: kernel_steps[gone.get("g", 0)], group, round_to=8) == (100 - 60) / 32
    assert us_per_channel(lambda gone: 5.0, group, round_to=8) == 1e-3
    assert us_per_channel(lambda gone: 5.0, SimpleNamespace(name="g", channels=8), round_to=8) == 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_within_one_block_of_the_best_of_all_choices(seed):
    generator = torch.Generator().manual_seed(seed)
    widths, us = {"a": 16, "b": 24, "c": 16}, {"a": 3.0, "b": 1.0, "c": 0.5}
    scores = {name: torch.rand(width, generator=generator) for name, width in widths.items()}

    def cost(gone):
        return 40 + sum(us[name] * (width - gone.get(name, 0)) for name, width in widths.items())

    def lost(removed):
        return sum(float(scores[name][channels].sum()) for name, channels in removed.items())

    ranked = {name: per_cost(score, us[name], exponent=1) for name, score in scores.items()}
    target = 0.75 * cost({})
    found = plan_removal(ranked, cost, target=target, round_to=4, max_ratio=MAX_RATIO)
    assert cost({name: len(gone) for name, gone in found.items()}) <= target

    order = {name: torch.argsort(score).tolist() for name, score in scores.items()}
    steps = {}
    for name, width in widths.items():
        sizes = block_sizes(width, round_to=4, max_ratio=MAX_RATIO)
        steps[name] = [0, *itertools.accumulate(sizes)]
    choices = (dict(zip(widths, counts, strict=True)) for counts in itertools.product(*steps.values()))
    best = min(
        lost({name: order[name][:count] for name, count in gone.items()}) for gone in choices if cost(gone) <= target
    )
    # The last block may be larger than what is still to be saved: the bound of greedy choice in a knapsack.
    blocks = [{name: order[name][start:end]} for name in widths for start, end in itertools.pairwise(steps[name])]
    assert best - 1e-5 <= lost(found) <= best + max(map(lost, blocks)) + 1e-5


def test_channels_go_where_they_cost_time(make_bundle, dataset, host):
    bundle = make_bundle("timm:test_efficientnet")
    result = prune_bundle(bundle, dataset, CONFIG, report=lambda line: None)
    cut = {name for name, (left, total) in result.groups.items() if left < total}
    # Those whose channels the slow layers make or read.
    assert cut
    assert cut <= {"blocks.0.0.conv", "blocks.1.0.conv_exp", "blocks.1.0.conv_pwl"}
    assert 0.6 < result.predicted.fraction <= 0.7

    # The prediction is of the network that came out.
    expected = 1.0
    before, after = (layer_costs(one.module, [], inputs=bundle.inputs) for one in (bundle, result.bundle))
    for whole, left in zip(before, after, strict=True):
        expected += (whole.macs({}) + left.macs({})) * (0.2 if SLOW in whole.name else 0.005) / 1000
    assert result.predicted.after_us == pytest.approx(expected)


def test_a_table_is_measured_once_for_a_network_a_host_and_what_is_asked(make_bundle, store, host):
    bundle = make_bundle("timm:test_efficientnet")
    layers = layer_costs(bundle.module, [], inputs=bundle.inputs)

    def table(**changes):
        return prices_of(bundle, bundle.module, [], layers, replace(CONFIG, **changes), store).table

    first = table()
    assert table(macs_fraction=0.5) == first
    assert len(host) == 1
    table(latency_threads=2)
    table(student_size=24)
    table(round_to=32)
    table(scheme="float32")
    assert len(host) == 5


def test_a_table_in_the_store_that_cannot_be_read_is_measured_again(make_bundle, store, host, capsys):
    bundle = make_bundle("timm:test_efficientnet")
    layers = layer_costs(bundle.module, [], inputs=bundle.inputs)
    first = prices_of(bundle, bundle.module, [], layers, CONFIG, store).table
    (record,) = Path(store.uri.removeprefix("file://")).glob("results/*/*.json")
    record.write_text('{"format": 7}')
    assert prices_of(bundle, bundle.module, [], layers, CONFIG, store).table == first
    assert len(host) == 2
    assert "format 1, got 7" in capsys.readouterr().out


def test_a_student_of_another_size_is_measured_at_its_own(make_bundle, host):
    bundle = make_bundle("timm:test_efficientnet")
    layers = layer_costs(bundle.module, [], inputs=bundle.inputs)
    prices_of(bundle, bundle.module, [], layers, replace(CONFIG, student_size=24), None)
    (asked,) = host
    assert asked["graph_of"](bundle.module).inputs[0].shape[1:] == (3, 24, 24)


def test_the_stage_states_price_and_prediction(run_stage, dataset_path, make_bundle, save_bundle, host):
    inputs = {"dataset": dataset_path, "model": save_bundle(make_bundle("timm:test_efficientnet"))}
    recipe = {"name": "r", "macs_fraction": 0.7}
    outputs = run_stage(prune, inputs=inputs, recipe=recipe, prune_price="latency", round_to=16, calibration_images=64)
    facts = outputs["metrics"].metadata
    assert facts["predicted_latency_fraction"] == pytest.approx(
        facts["predicted_latency_ms"] / facts["predicted_latency_ms_before"], rel=1e-3
    )
    assert facts["predicted_latency_fraction"] <= 0.7
    # Cache keys depend on what goes with the model: no latency of a host.
    assert not [name for name in outputs["pruned"].metadata if "latency" in name]
    page = Path(outputs["page"].path).read_text()
    assert "of the predicted latency is left" in page
    assert "onnxruntime 9, slow one" in page


def test_a_network_of_several_graphs_is_refused(make_bundle):
    bundle = make_bundle("timm:test_efficientnet")
    graphs = bundle.graphs
    two = SimpleNamespace(
        task=SimpleNamespace(graphs=lambda module, assets: {**graphs, "more": None}, stay_float=()),
        assets=bundle.assets,
        architecture=bundle.architecture,
    )
    with pytest.raises(UserError, match="this one has 2; use prune_price=macs"):
        prices_of(two, bundle.module, [], [], CONFIG, None)


def test_a_task_that_prunes_in_its_own_way_is_refused(make_bundle, dataset, monkeypatch):
    monkeypatch.setattr("components.prune.pruning.slim_bundle", lambda *_, **__: SimpleNamespace())
    with pytest.raises(UserError, match="prune_price latency is not available for image classification; leave it out"):
        prune_bundle(make_bundle("timm:test_efficientnet"), dataset, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune_price": "size"}, "prune_price must be one of macs, latency; got 'size'"),
        ({"round_to": 8}, "prune_price latency needs a round_to that is a multiple of 16, got 8"),
        ({"latency_threads": 0}, "latency_threads must be at least 1; got 0"),
    ],
)
def test_what_does_not_go_with_the_price_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(CONFIG, **changes)


def test_translation_has_no_channels_with_a_price():
    form = Form(pipeline="p", task="translation", parameters=PARAMETERS)
    with pytest.raises(UserError, match="unknown key 'prune_price' in advanced"):
        form.resolve({}, {"prune_price": "latency"})
