"""Students before any training: how fast and how large they are.

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

LEAST = 0.0
"""A fraction that no network reaches: as few channels are left as pruning ever leaves."""

_BATCH = 1
_ROUNDS = 48


@dataclass(frozen=True, kw_only=True)
class Student:
    """An untrained student: bytes of its file, and the median of a warm call at batch 1 in milliseconds."""

    latency_ms: float
    size_bytes: int


class Students:
    """Makes the untrained students of one network; it is left alone."""

    def __init__(self, bundle: ModelBundle, recipe: Recipe, *, round_to: int, threads: int) -> None:
        """`recipe`: student_size and scheme count. `round_to`: channels left are a multiple of this.

        Raises:
            UserError: the network is served as several graphs.
        """
        if len(bundle.graphs) != 1:
            raise UserError(f"this network is served as {len(bundle.graphs)} graphs")
        self._task, self._assets = bundle.task, bundle.assets
        if recipe.student_size:
            self._assets = self._task.student_assets(bundle.assets, bundle.assets, recipe.student_size)
        self._scheme, self._round_to, self._threads = recipe.scheme, round_to, threads
        self._module = copy.deepcopy(bundle.module).cpu().eval()
        output_layers = self._task.output_layers(self._module)
        self._groups = PruningGraph(self._module, inputs=bundle.inputs, output_layers=output_layers).groups()
        self._layers = layer_costs(self._module, self._groups, inputs=bundle.inputs)

    def measured(self, fractions: Sequence[float]) -> list[Student]:
        """Students that keep these fractions of the multiply-accumulates, measured in alternating blocks.

        Raises:
            UserError: the file cannot be made without training.
        """
        files: dict[str, bytes] = {}
        feeds = {}
        for number, fraction in enumerate(fractions):
            narrow = copy.deepcopy(self._module)
            apply_surgery(narrow, cuts_of(narrow, self._groups, self._removal(fraction)))
            (graph,) = self._task.graphs(narrow, self._assets).values()
            name = str(number)
            files[name] = file_for_timing(
                graph, narrow, self._layers, scheme=self._scheme, stay_float=self._task.stay_float
            )
            feeds[name] = examples(graph.inputs, graph.sizes(_BATCH))
        sessions = {name: open_session(file, threads=self._threads) for name, file in files.items()}
        makers = {name: (lambda batch, feed=feed: feed) for name, feed in feeds.items()}
        found = measure(sessions, makers, batch=_BATCH, rounds=_ROUNDS, precision=None).latencies
        return [Student(latency_ms=found[name].p50_ms, size_bytes=len(file)) for name, file in files.items()]

    def _removal(self, fraction: float) -> Mapping[str, Sequence[int]]:
        if fraction >= 1:
            return {}
        cost = partial(total_macs, self._layers)
        evenly = {group.name: torch.arange(group.channels) / group.channels for group in self._groups}
        return plan_removal(evenly, cost, target=fraction * cost({}), round_to=self._round_to, max_ratio=MAX_RATIO)


def smallest_recipe(recipes: Sequence[Recipe]) -> Recipe:
    """The one that keeps the least of the network; of equal ones the one with the smaller input."""
    return min(recipes, key=lambda recipe: (recipe.macs_fraction, recipe.student_size or math.inf))
