"""The smallest students that the recipes lead to: how fast and how large they are, before anything is trained.

Weights do not matter to either: channels are taken evenly from all groups, and the int8 file gets any ranges.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from components.core.bundles.model_bundle import ModelBundle
from components.core.errors import UserError
from components.core.models.architecture import apply_surgery
from components.core.models.inputs import examples
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.latency_table import file_for_timing
from components.core.pruning.member import cuts_of
from components.core.pruning.plan import MAX_RATIO, plan_removal, total_macs
from components.core.recipe import Recipe
from components.core.runtime.latency import measure
from components.core.runtime.sessions import open_session

_BATCH = 1
_ROUNDS = 48


@dataclass(frozen=True, kw_only=True)
class Student:
    """An untrained student: bytes of its file, and the median of a warm call at batch 1 in milliseconds."""

    latency_ms: float
    size_bytes: int


def smallest_recipe(recipes: Sequence[Recipe]) -> Recipe:
    """The one that keeps the least of the network; of equal ones the one with the smaller input."""
    return min(recipes, key=lambda recipe: (recipe.macs_fraction, recipe.student_size or math.inf))


def make_students(bundle: ModelBundle, recipe: Recipe, *, round_to: int, threads: int) -> tuple[Student, Student]:
    """The student of this recipe, and one with as few channels as pruning ever leaves, measured in alternating blocks.

    Args:
        bundle: the network that is trained and pruned later; it is left alone.
        recipe: macs_fraction, student_size and scheme count.
        round_to: channels left are a multiple of this.
        threads: of onnxruntime.

    Raises:
        UserError: it is served as several graphs, or its file cannot be made without training.
    """
    task, assets = bundle.task, bundle.assets
    if len(bundle.graphs) != 1:
        raise UserError(f"this network is served as {len(bundle.graphs)} graphs")
    if recipe.student_size:
        assets = task.student_assets(assets, assets, recipe.student_size)
    module = copy.deepcopy(bundle.module).cpu().eval()
    found = PruningGraph(module, inputs=bundle.inputs, output_layers=task.output_layers(module)).groups()
    layers = layer_costs(module, found, inputs=bundle.inputs)
    cost = partial(total_macs, layers)
    evenly = {group.name: torch.arange(group.channels) / group.channels for group in found}
    files, feeds = {}, {}
    # A target of nothing takes all that may go.
    for name, fraction in (("asked", recipe.macs_fraction), ("least", 0.0)):
        removal: Mapping[str, Sequence[int]] = {}
        if fraction < 1:
            removal = plan_removal(evenly, cost, target=fraction * cost({}), round_to=round_to, max_ratio=MAX_RATIO)
        narrow = copy.deepcopy(module)
        apply_surgery(narrow, cuts_of(narrow, found, removal))
        (graph,) = task.graphs(narrow, assets).values()
        files[name] = file_for_timing(graph, narrow, layers, scheme=recipe.scheme, stay_float=task.stay_float)
        feeds[name] = examples(graph.inputs, graph.sizes(_BATCH))
    sessions = {name: open_session(file, threads=threads) for name, file in files.items()}
    makers = {name: (lambda batch, feed=feed: feed) for name, feed in feeds.items()}
    measured = measure(sessions, makers, batch=_BATCH, rounds=_ROUNDS, precision=None).latencies
    asked, least = (Student(latency_ms=measured[one].p50_ms, size_bytes=len(files[one])) for one in ("asked", "least"))
    return asked, least
