"""Prices of channels: their multiply-accumulates, or their time on the machine where the model will run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.errors import UserError
from components.core.models.inputs import Graph
from components.core.pruning.latency_table import LatencyTable, measure_table
from components.core.pruning.member import ChannelGroup
from components.core.pruning.plan import MAX_RATIO, Cost, LayerCost, Part, block_sizes, macs_per_channel, total_macs
from components.core.results.code import digest_of, files_of
from components.core.runtime.host import describe_host
from components.core.store import Damaged, Store, cache_key
from components.prune.config import LATENCY, MACS, PruneConfig
from components.prune.result import Predicted

_LEAST_US = 1e-3

_REMEMBERED = "layer-latencies"
"""Name of the tables among the store's results."""

_CODE = ("pruning", "runtime")
"""Folders of core on which a table rests."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """`cost` of the network when so many channels of each group are gone, the sum of `parts`; `unit`: in words;
    `per_channel`: group → what goes with one of its channels; `exponent`: of `importance.per_cost`; `table`: where the
    unit is microseconds."""

    cost: Cost
    parts: Sequence[Part]
    unit: str
    per_channel: Mapping[str, float]
    exponent: float
    table: LatencyTable | None = None

    def predicted(self, removed: Mapping[str, int]) -> Predicted | None:
        """Latency before and after; None where MACs are the price."""
        if self.table is None:
            return None
        return Predicted(
            before_us=self.cost({}),
            after_us=self.cost(removed),
            prices=dict(self.per_channel),
            scheme=self.table.scheme,
            threads=self.table.threads,
            processor=self.table.host["processor"],
            onnxruntime=self.table.host["versions"]["onnxruntime"],
        )


def prices_of(
    bundle: ModelBundle,
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    layers: Sequence[LayerCost],
    config: PruneConfig,
    store: Store | None,
) -> Prices:
    """The prices that are asked for.

    Args:
        bundle: of which `module` is a copy.
        groups, layers: of the module.
        store: keeps measured latencies, if there is one.

    Raises:
        UserError: latency is asked of a network that it cannot be predicted of.
    """
    if config.prune_price == MACS:
        return Prices(
            cost=partial(total_macs, layers),
            parts=[Part(groups=layer.groups, cost=layer.macs) for layer in layers],
            unit="the multiply-accumulates",
            per_channel={group.name: float(macs_per_channel(layers, group.name)) for group in groups},
            exponent=0.5,
        )
    table = _table(bundle, module, groups, layers, config, store)
    cost = partial(table.total_us, layers)
    per_channel = {group.name: us_per_channel(cost, group, round_to=config.round_to) for group in groups}
    # Loss for each microsecond saved, as a knapsack is filled; README.md has what the square root did instead.
    return Prices(
        cost=cost, parts=table.parts(layers), unit="the latency", per_channel=per_channel, exponent=1.0, table=table
    )


def us_per_channel(cost: Cost, group: ChannelGroup, *, round_to: int) -> float:
    """The saving per channel: the mean over all of the group that may go, everything else being whole.

    Kernels work in steps and a single cut may save nothing, so the mean is steadier. At least a nanosecond: channels
    that save nothing go last.
    """
    removable = sum(block_sizes(group.channels, round_to=round_to, max_ratio=MAX_RATIO))
    saved = cost({}) - cost({group.name: removable})
    return max(saved / max(removable, 1), _LEAST_US)


def _table(
    bundle: ModelBundle,
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    layers: Sequence[LayerCost],
    config: PruneConfig,
    store: Store | None,
) -> LatencyTable:
    """Measured once for a network, host and runtime, then read from the store."""

    task, assets = bundle.task, bundle.assets
    if config.student_size:
        assets = task.student_assets(assets, assets, config.student_size)

    def graph_of(narrow: nn.Module) -> Graph:
        graphs = list(task.graphs(narrow, assets).values())
        if len(graphs) != 1:
            raise UserError(
                f"prune_price {LATENCY} needs a network of one graph, and this one has {len(graphs)}; use "
                f"prune_price={MACS}"
            )
        return graphs[0]

    def measured() -> LatencyTable:
        return measure_table(
            module, groups, layers, graph_of=graph_of, scheme=config.scheme, stay_float=task.stay_float,
            round_to=config.round_to, threads=config.latency_threads,
        )  # fmt: skip

    if store is None:
        return measured()
    key = _key(bundle, layers, config)
    try:
        record = store.results.load(_REMEMBERED, key)
        if record is not None:
            table = LatencyTable.from_json(record)
            table.total_us(layers, {})
            store.results.renew(_REMEMBERED, key, record)
            return table
    except (ValueError, Damaged) as error:
        print(f"the latencies in the store cannot be used, so they are measured again: {error}")
    table = measured()
    store.results.save(_REMEMBERED, key, table.to_json())
    return table


def _key(bundle: ModelBundle, layers: Sequence[LayerCost], config: PruneConfig) -> str:
    host = {name: value for name, value in describe_host().items() if name != "load_average_1m"}
    return cache_key(
        component=_REMEMBERED,
        code=digest_of(part for name in _CODE for part in files_of(Path(__file__).parents[1] / "core" / name)),
        parameters={
            "scheme": config.scheme, "round_to": config.round_to, "threads": config.latency_threads,
            "student_size": config.student_size, "host": host,
        },
        inputs={
            "architecture": bundle.architecture.to_json(),
            # Their sizes follow from the input's.
            "layers": [[layer.name, layer.pairs] for layer in layers],
        },
    )  # fmt: skip
