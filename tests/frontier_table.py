"""The table of `benchmarks/frontier.py`: points of several seeds, and which of a peer's no point of ours dominates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from components.core.choice.pareto import dominates


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A method's figures for one seed, against the baseline of that seed: points of top-1 (positive = better), how many
    times as small, and how many times as fast by batch size."""

    points: float
    smaller: float
    faster: Mapping[int, float]

    @property
    def costs(self) -> tuple[float, ...]:
        """Smaller is better in each."""
        return (-self.points, -self.smaller, *(-self.faster[batch] for batch in sorted(self.faster)))


def average(figures: Sequence[Figures]) -> Figures:
    """Of the seeds; ValueError without any, or where they differ in their batch sizes."""
    if not figures:
        raise ValueError("no seed has been run")
    if len({tuple(sorted(one.faster)) for one in figures}) > 1:
        raise ValueError("the seeds were measured at different batch sizes")
    return Figures(
        points=mean(one.points for one in figures),
        smaller=mean(one.smaller for one in figures),
        faster={batch: mean(one.faster[batch] for one in figures) for batch in figures[0].faster},
    )


def above_our_front(methods: Mapping[str, Sequence[Figures]], *, ours: str) -> list[str]:
    """The peers whose average no average of ours dominates, nor equals. Ours are the methods that begin with `ours`."""
    costs = {name: average(seeds).costs for name, seeds in methods.items()}
    mine = [cost for name, cost in costs.items() if name.startswith(ours)]
    peers = {name: cost for name, cost in costs.items() if not name.startswith(ours)}
    return [name for name, cost in peers.items() if not any(own == cost or dominates(own, cost) for own in mine)]


def table(methods: Mapping[str, Sequence[Figures]], *, ours: str, notes: Mapping[str, str]) -> str:
    """Markdown; means over the seeds, ± their standard deviation where there are several.

    Args:
        methods: figures by seed, by method.
        ours: beginning of the names of our methods.
        notes: a last cell for some methods.
    """
    batches = sorted(next(iter(methods.values()))[0].faster)
    above = above_our_front(methods, ours=ours)
    titles = ["method", "seeds", "top-1, points", "smaller", *(f"batch {batch}" for batch in batches), "notes", "front"]
    rows = [titles, ["---"] * len(titles)]
    for name, seeds in methods.items():
        cells = [_spread([one.points for one in seeds], "+.2f"), _spread([one.smaller for one in seeds], ".2f", "x")]
        cells += [_spread([one.faster[batch] for one in seeds], ".2f", "x") for batch in batches]
        mark = "**not dominated by ours**" if name in above else ""
        rows.append([name, str(len(seeds)), *cells, notes.get(name, ""), mark])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _spread(values: Sequence[float], form: str, unit: str = "") -> str:
    around = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{unit}{around}"
