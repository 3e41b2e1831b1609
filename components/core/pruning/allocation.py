"""How many channels each group loses: the choice of the least predicted loss within limits, as an integer programme.

Pure arithmetic; knows no network. A multiple-choice knapsack, after Shen et al. 2022 (HALP, arXiv:2110.10811), in which
a layer that two groups share costs what both leave of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import highspy
import numpy as np

from components.core.errors import UserError
from components.core.pruning.plan import Part

_SECONDS = 60.0
_GAP = 1e-6
_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The sum of the parts may be at most `most`, in their unit."""

    parts: Sequence[Part]
    most: float

    def cost(self, removed: Mapping[str, int]) -> float:
        return sum(part.cost(removed) for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """`removed`: group → channels to remove; `loss`: the sum of their losses; `gap`: how far the loss may be from the
    least, as a fraction of it: 0 unless the solver ran out of time."""

    removed: dict[str, int]
    loss: float
    gap: float


class OutOfReachError(UserError):
    """No choice keeps all limits; `least` is what can be reached of each limit, were it the only one."""

    def __init__(self, least: Sequence[float], most: Sequence[float]) -> None:
        wanted, there = (", ".join(f"{one:.6g}" for one in values) for values in (most, least))
        super().__init__(f"no choice of channels costs at most {wanted}; the least there is costs {there}")
        self.least = tuple(least)


def allocate(losses: Mapping[str, Mapping[int, float]], limits: Sequence[Limit]) -> Allocation:
    """The choice of one count in each group whose losses have the least sum and which keeps all limits.

    With binary x (group g loses its i-th count) and z ≥ 0 for each two groups that share a part:

        min Σ l·x   subject to   Σ_i x_gi = 1,   Σ_j z_gihj = x_gi,   Σ_i z_gihj = x_hj,   Σ c·x + Σ d·z ≤ most

    c is the cost of one group alone, d what two groups' costs differ from the sum of both. It is exact where no three
    groups share a part, or share it as multiply-accumulates do (inputs times outputs). The limits are checked by their
    own functions, and hold whatever the parts are.

    Args:
        losses: group → channels removed → predicted increase of the loss. 0 is one of the counts if the group may stay.
        limits: at least one.

    Raises:
        OutOfReachError: nothing keeps the limits.
    """
    programme = _Programme(losses, limits)
    bounds = [limit.most for limit in limits]
    for _ in range(_ATTEMPTS):
        found = programme.solved(programme.losses(), bounds)
        if found is None:
            break
        removed, gap = found
        # The solver keeps limits to a relative 1e-6, and groups that share a part by threes are not seen.
        over = [limit.cost(removed) - limit.most for limit in limits]
        if max(over) <= 0:
            return Allocation(removed=removed, loss=sum(losses[name][gone] for name, gone in removed.items()), gap=gap)
        bounds = [bound - max(excess, 0) * 1.01 for bound, excess in zip(bounds, over, strict=True)]
    unbounded = [math.inf] * len(limits)
    least = []
    for limit in limits:
        found = programme.solved(programme.costs(limit), unbounded)
        assert found is not None
        least.append(limit.cost(found[0]))
    raise OutOfReachError(least, [limit.most for limit in limits])


class _Row(NamedTuple):
    """`least` ≤ the sum of the variables times their `entries`, by column, ≤ `most`."""

    entries: dict[int, float]
    least: float
    most: float


class _Programme:
    """The variables x of all groups, then z of all pairs; the equations between them; the costs of each limit."""

    def __init__(self, losses: Mapping[str, Mapping[int, float]], limits: Sequence[Limit]) -> None:
        self._losses = losses
        self._counts = {name: list(known) for name, known in losses.items()}
        self._at: dict[tuple[str, ...], int] = {}
        self._width = 0
        for name, counts in self._counts.items():
            self._add((name,), len(counts))
        self._num_choices = self._width
        tables = [_interactions(limit, self._counts) for limit in limits]
        for pair in sorted({pair for table in tables for pair in table if len(pair) == 2}):
            self._add(pair, math.prod(len(self._counts[name]) for name in pair))
        self._costs = {id(limit): self._row(table) for limit, table in zip(limits, tables, strict=True)}
        self._fixed = [limit.cost({}) for limit in limits]
        self._limits = limits
        self._equations = self._linked()

    def _add(self, key: tuple[str, ...], size: int) -> None:
        self._at[key] = self._width
        self._width += size

    def _row(self, table: Mapping[tuple[str, ...], np.ndarray]) -> np.ndarray:
        row = np.zeros(self._width)
        for key, values in table.items():
            row[self._at[key] : self._at[key] + values.size] = values.ravel()
        return row

    def losses(self) -> np.ndarray:
        return self._row({(name,): np.array(list(known.values())) for name, known in self._losses.items()})

    def costs(self, limit: Limit) -> np.ndarray:
        return self._costs[id(limit)]

    def _linked(self) -> list[_Row]:
        """Each group loses one count; z of a pair sums up to x of either side."""
        rows: list[_Row] = []
        for key, start in self._at.items():
            if len(key) == 1:
                rows.append(_Row(dict.fromkeys(range(start, start + len(self._counts[key[0]])), 1.0), 1.0, 1.0))
                continue
            one, other = (self._counts[name] for name in key)
            z = np.arange(start, start + len(one) * len(other)).reshape(len(one), len(other))
            for i in range(len(one)):
                rows.append(_Row(dict.fromkeys(z[i].tolist(), 1.0) | {self._at[key[:1]] + i: -1.0}, 0.0, 0.0))
            for j in range(len(other)):
                rows.append(_Row(dict.fromkeys(z[:, j].tolist(), 1.0) | {self._at[key[1:]] + j: -1.0}, 0.0, 0.0))
        return rows

    def solved(self, objective: np.ndarray, bounds: Sequence[float]) -> tuple[dict[str, int], float] | None:
        """The counts and the gap; None where there is no solution."""
        rows = list(self._equations)
        for limit, fixed, most in zip(self._limits, self._fixed, bounds, strict=True):
            if math.isfinite(most):
                # In parts of the whole: the solver's tolerances are absolute.
                scale = abs(fixed) or 1.0
                costs = self.costs(limit) / scale
                rows.append(_Row({int(at): costs[at] for at in costs.nonzero()[0]}, -math.inf, (most - fixed) / scale))
        solver = highspy.Highs()
        for option, value in (("output_flag", False), ("time_limit", _SECONDS), ("mip_rel_gap", _GAP)):
            solver.setOptionValue(option, value)
        solver.passModel(self._model(objective / (np.abs(objective).max() or 1.0), rows))
        solver.run()
        status, said = solver.getModelStatus(), solver.getInfo()
        if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
            return None
        if said.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            raise RuntimeError(f"HiGHS found no allocation of channels: {solver.modelStatusToString(status)}")
        values = np.array(solver.getSolution().col_value)
        removed = {}
        for name, counts in self._counts.items():
            start = self._at[(name,)]
            removed[name] = counts[int(values[start : start + len(counts)].argmax())]
        return removed, 0.0 if status == highspy.HighsModelStatus.kOptimal else float(said.mip_gap)

    def _model(self, objective: np.ndarray, rows: Sequence[_Row]) -> highspy.HighsLp:
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self._width, len(rows)
        model.col_cost_ = objective
        model.col_lower_, model.col_upper_ = np.zeros(self._width), np.ones(self._width)
        model.row_lower_ = np.array([row.least for row in rows])
        model.row_upper_ = np.array([row.most for row in rows])
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.cumsum([0, *(len(row.entries) for row in rows)])
        model.a_matrix_.index_ = np.array([column for row in rows for column in row.entries])
        model.a_matrix_.value_ = np.array([value for row in rows for value in row.entries.values()])
        whole = highspy.HighsVarType.kInteger
        model.integrality_ = [
            whole if column < self._num_choices else highspy.HighsVarType.kContinuous for column in range(self._width)
        ]
        return model


def _interactions(limit: Limit, counts: Mapping[str, Sequence[int]]) -> dict[tuple[str, ...], np.ndarray]:
    """(g,) → (counts,), cost against the whole; (g, h) → (counts, counts), what both differ from the sum of each.

    Pairs that differ by nothing are left out.
    """
    table: dict[tuple[str, ...], np.ndarray] = {(name,): np.zeros(len(known)) for name, known in counts.items()}
    for part in limit.parts:
        groups = [name for name in counts if name in part.groups]
        whole = part.cost({})
        alone = {name: np.array([part.cost({name: gone}) - whole for gone in counts[name]]) for name in groups}
        for name, values in alone.items():
            table[(name,)] += values
        for one, other in combinations(groups, 2):
            both = [part.cost({one: i, other: j}) - whole for i, j in product(counts[one], counts[other])]
            beyond = np.reshape(both, (len(counts[one]), -1)) - alone[one][:, None] - alone[other]
            if np.abs(beyond).max() > 1e-9 * max(abs(whole), 1.0):
                table[one, other] = table.get((one, other), 0.0) + beyond
    return table
