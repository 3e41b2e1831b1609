"""The price that pruning should count: multiply-accumulates or microseconds, against uniform pruning as the control.

    nice python tests/benchmarks/pruning_price.py --store trimtab-out/store
    nice python tests/benchmarks/pruning_price.py --store trimtab-out/store --distill-epochs 2 --seeds 3

The store is of a finished `trimtab run`; its last fine-tuned classifier is pruned, on its data set. Taylor importance
is measured once. Each way then cuts the same network to the same part of the MACs, and to the same part of the
predicted latency; batch norms are measured again on training images, and the loss on validation images before any
training stands for accuracy. Latency is measured, of int8 files at batch 1, warm, in alternating blocks of all networks
of one target: what differs between ways was measured within seconds. Uniform takes the least important channels of each
group, the same part of each. Exact has the least sum of measured loss increases (`prune_allocation=exact`). With
`--distill-epochs` each network then learns from the whole one, for each seed.
"""

import argparse
import copy
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model
from components.core.data.dataset import Dataset
from components.core.models.architecture import apply_surgery
from components.core.models.complexity import count_parameters
from components.core.models.inputs import BATCH, examples
from components.core.parameters import DECLARED
from components.core.pruning.allocation import Limit, allocate
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.latency_table import file_for_timing, measure_table
from components.core.pruning.member import cuts_of
from components.core.pruning.plan import MAX_RATIO, Part, plan_removal, total_macs
from components.core.runtime.host import describe_host
from components.core.runtime.latency import measure
from components.core.runtime.sessions import open_session
from components.core.store import Store, open_store
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm
from components.core.training.data import calibration_batches
from components.distill.distillation import DistillConfig, distill_bundle
from components.prune.config import PruneConfig
from components.prune.importance import per_cost
from components.prune.prices import us_per_channel
from components.prune.pruning import taylor_importance, validation_of
from components.prune.sensitivity import TRIAL_IMAGES, Trial, at_each_step, loss_increases, steps_of

ROUND_TO = 16
THREADS = 1


def last(store: Store, folder: Path, stage: str, output: str) -> Manifest:
    """Of the youngest result of a stage."""
    records = sorted((folder / "results" / stage).glob("*.json"), key=lambda path: path.stat().st_mtime)
    record = store.results.load(stage, records[-1].stem)
    assert record is not None
    digest = record["output_artifacts"][output][0]["files"]["manifest.json"]
    return parse_manifest(json.loads(store.blobs.get(digest)))


def uniform(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each channel's place in its group, from 0 to 1: the lowest places of all groups go together."""
    return {name: one.argsort().argsort().float() / len(one) for name, one in scores.items()}


def distilled(teacher: ModelBundle, student: ModelBundle, dataset: Dataset, *, epochs: int, seed: int) -> float:
    """Validation metric of a copy of the student after so many epochs, everything else as declared."""
    names = {field.name: DistillConfig.declared_as.get(field.name, field.name) for field in fields(DistillConfig)}
    values = {own: DECLARED[name].default for own, name in names.items() if name in DECLARED}
    config = DistillConfig(**(values | {"epochs": epochs, "seed": seed, "patience": 0}))
    copied = replace(student, module=copy.deepcopy(student.module))
    _, history = distill_bundle(teacher, copied, dataset, config, report=lambda line: None)
    return (history.best() or {})["validation_metric"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--size", type=int, default=0, help="side of the input in pixels; 0 is the network's own")
    parser.add_argument("--calibration-images", type=int, default=512)
    parser.add_argument("--distill-epochs", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--macs", type=float, nargs="*", default=[0.7, 0.5], help="parts to keep")
    parser.add_argument("--latency", type=float, nargs="*", default=[0.8, 0.65], help="parts to keep")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cpu = torch.device("cpu")

    store = open_store(str(asked.store))
    dataset = Dataset(last(store, asked.store, "data_prep", "prepared"), store)
    bundle = load_model(last(store, asked.store, "fine_tune", "tuned"), store)
    task, assets, inputs = bundle.task, bundle.assets, bundle.inputs
    if asked.size:
        assets = task.student_assets(assets, assets, asked.size)
        inputs = task.inputs(assets)
        bundle = type(bundle)(module=bundle.module, architecture=bundle.architecture, assets=assets)
    module = bundle.module.eval().requires_grad_(True)

    def batches():
        return calibration_batches(task, dataset, assets, rows=asked.calibration_images)

    def graph_of(network):
        (graph,) = task.graphs(network, assets).values()
        return graph

    absorb_statistics(module, batches(), cpu)
    groups = PruningGraph(module, inputs=inputs, output_layers=task.output_layers(module)).groups()
    layers = layer_costs(module, groups, inputs=inputs)
    made = {"scheme": "int8", "stay_float": task.stay_float}
    table = measure_table(module, groups, layers, graph_of=graph_of, round_to=ROUND_TO, threads=THREADS, **made)
    config = PruneConfig(
        macs_fraction=0.5, importance="taylor", round_to=ROUND_TO, calibration_images=asked.calibration_images, seed=0
    )
    scores = taylor_importance(module, groups, dataset, task, bundle, config)
    module.zero_grad(set_to_none=True)

    costs = {"MACs": partial(total_macs, layers), "latency": partial(table.total_us, layers)}
    prices = {
        "MACs": {group.name: costs["MACs"]({}) - costs["MACs"]({group.name: 1}) for group in groups},
        "latency": {group.name: us_per_channel(costs["latency"], group, round_to=ROUND_TO) for group in groups},
    }
    ways = {"uniform": uniform(scores)} | {
        f"{unit}, exponent {exponent:g}": {
            name: per_cost(one, prices[unit][name], exponent=exponent) for name, one in scores.items()
        }
        for unit in prices
        for exponent in (0.5, 1.0)
    }

    trial = Trial(module, groups, scores, calibration_batches(task, dataset, assets, rows=TRIAL_IMAGES), task)
    losses = {
        group.name: at_each_step(curve, steps_of(group.channels, round_to=ROUND_TO))
        for group, curve in zip(groups, loss_increases(trial, groups, round_to=ROUND_TO).values(), strict=True)
    }
    order = {name: one.argsort(stable=True).tolist() for name, one in scores.items()}
    parts = {"MACs": [Part(groups=one.groups, cost=one.macs) for one in layers], "latency": table.parts(layers)}

    def removal_of(way: str, unit: str, target: float) -> dict[str, list[int]]:
        if way == "exact":
            found = allocate(losses, [Limit(parts=parts[unit], most=target)])
            return {name: order[name][:gone] for name, gone in found.removed.items()}
        return plan_removal(ways[way], costs[unit], target=target, round_to=ROUND_TO, max_ratio=MAX_RATIO)

    before = validation_of(module, dataset, task, bundle)
    whole = open_session(file_for_timing(graph_of(module), module, layers, **made), threads=THREADS)
    feed = examples(inputs, {BATCH: 1})
    metric = task.training_metric.name
    print(
        f"{describe_host()['processor']}, onnxruntime {ort.__version__}, {THREADS} thread, "
        f"{bundle.architecture.source}, {inputs[0].shape[-1]} px; whole: loss {before.loss:.4f}, {metric} "
        f"{before.metric:.4f}"
    )
    print("target | price | MACs | predicted | measured (interval) | loss | metric | parameters | distilled")
    targets = [("MACs", part) for part in asked.macs] + [("latency", part) for part in asked.latency]
    for unit, part in targets:
        sessions, rows = {"whole": whole}, {}
        for name in [*ways, "exact"]:
            removal = removal_of(name, unit, part * costs[unit]({}))
            removed = {group: len(gone) for group, gone in removal.items()}
            narrow = copy.deepcopy(module)
            cuts = cuts_of(narrow, groups, removal)
            apply_surgery(narrow, cuts)
            recalibrate_batchnorm(narrow, batches(), cpu)
            found = validation_of(narrow, dataset, task, bundle)
            sessions[name] = open_session(file_for_timing(graph_of(narrow), narrow, layers, **made), threads=THREADS)
            parameters = count_parameters(narrow) / count_parameters(module)
            shares = [costs[one](removed) / costs[one]({}) for one in ("MACs", "latency")]
            student = replace(bundle, module=narrow, architecture=bundle.architecture.with_surgery(cuts))
            taught = [
                distilled(bundle, student, dataset, epochs=asked.distill_epochs, seed=seed)
                for seed in range(asked.seeds if asked.distill_epochs else 0)
            ]
            rows[name] = (*shares, found, parameters, taught)
        timed = measure(sessions, lambda batch: feed, rounds=64, precision=0.02)
        for name, (macs, predicted, found, parameters, taught) in rows.items():
            ratio = timed.ratios[name]
            print(
                f"{part:.0%} {unit} | {name} | {macs:.1%} | {predicted:.1%} | {1 / ratio.value:.1%} "
                f"({1 / ratio.high:.1%} to {1 / ratio.low:.1%}) | {found.loss:.4f} | {found.metric:.4f} | "
                f"{parameters:.1%} | {', '.join(f'{one:.4f}' for one in taught)}",
                flush=True,
            )
        print(f"busy blocks {timed.busy_blocks} of {timed.blocks}", flush=True)


if __name__ == "__main__":
    main()
