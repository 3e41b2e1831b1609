"""From a network and the time that is left to candidates and epochs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from components.core.bundles.model_bundle import ModelBundle
from components.core.errors import UserError
from components.core.pruning.students import Student, Students
from components.core.recipe import Recipe
from components.core.time_box import Costs, TimePlan, TooShortError, plan_time
from components.plan.candidates import Candidate, candidates, smaller_sides
from components.plan.measuring import costs_of, measure_speed

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class RacePlan:
    """Epochs and seconds, the candidates that run, when the plan was made, and a sentence on the control."""

    time: TimePlan
    costs: Costs
    control: str
    tried: Sequence[Candidate]
    minutes: float
    began: float
    made: float

    @property
    def recipes(self) -> list[Recipe]:
        """Of the candidates that run, with the epochs of the first rung."""
        return [
            replace(one.recipe, more={**one.recipe.more, "distill_epochs": self._first_epochs(one)})
            for one in self.tried[: self.time.students]
        ]

    def _first_epochs(self, one: Candidate) -> int:
        return one.contender.epochs(self.time.first_epochs, self.time.epochs)

    def facts(self) -> dict[str, float]:
        """For KFP's metrics."""
        return {
            "epoch_seconds": self.costs.epoch,
            "epochs": self.time.epochs,
            "first_rung_epochs": self.time.first_epochs,
            "candidates": self.time.students,
        }

    def said(self) -> str:
        """The plan in a line."""
        names = "; ".join(one.name for one in self.recipes)
        return (
            f"an epoch takes {self.costs.epoch:.1f} s: {self.time.epochs} epochs of fine-tuning, as many further ones "
            f"of the baseline, {self.time.first_epochs} of each of {self.time.students} students ({names}), then "
            f"{max(self.time.second, 0):.0f} s for the best of them. {self.control}"
        )

    def to_json(self) -> dict[str, Any]:
        """The facts that the end of the first rung plans by."""
        return {
            "minutes": self.minutes,
            "began": self.began,
            "made": self.made,
            "costs": self.costs.to_json(),
            "time": asdict(self.time),
            "steps": [{"name": "data, backbone and plan", "planned": None, "real": self.made - self.began}],
            "contenders": {one.recipe.name: asdict(one.contender) for one in self.tried[: self.time.students]},
            "control": self.control,
        }


def choose_candidates(
    bundle: ModelBundle,
    base: Recipe,
    *,
    settings: Mapping[str, Any],
    round_to: int,
    threads: int,
    max_latency_ms: float | None,
    max_size_mb: float | None,
) -> list[Candidate]:
    """The candidates of a network within the limits; its module is left alone.

    Raises:
        UserError: no student is within a limit.
    """
    side = int(bundle.inputs[0].sizes({"batch": 1})[-1])
    # Where images keep their resolution, a smaller input would be a smaller part of the image.
    sides = smaller_sides(side) if settings.get("inference", "resize") == "resize" else [0]

    def measured(size: int, fractions: Sequence[float]) -> list[Student]:
        students = Students(bundle, replace(base, student_size=size), round_to=round_to, threads=threads)
        return students.measured(fractions)

    return candidates(
        base, side, sides, measured, backbone=bundle.architecture.backbone, max_latency_ms=max_latency_ms,
        max_size_mb=max_size_mb,
    )  # fmt: skip


def plan_race(
    bundle: ModelBundle,
    dataset: "Dataset",
    tried: Sequence[Candidate],
    *,
    control: str,
    deadline: float,
    minutes: float,
    batch_size: int,
    head_epochs: int,
    now: Callable[[], float],
) -> RacePlan:
    """Measures the network's speed and plans the time until `deadline`; trains its module, which is of no use after.

    `control`: a sentence on it, for the report.

    Raises:
        UserError: the time box is too short for the shortest plan; says how long that takes.
    """
    costs = costs_of(measure_speed(bundle, dataset, batch_size=batch_size), dataset, head_epochs=head_epochs)
    made, began = now(), deadline - 60 * minutes
    try:
        time = plan_time(deadline - made, costs, [one.contender for one in tried])
    except TooShortError as error:
        least = (made - began + error.least) / 60
        raise UserError(
            f"time_limit_minutes {minutes:g} is too short: with these data and {bundle.architecture.backbone}, "
            f"the shortest plan takes {least + 0.05:.1f} minutes on this machine. Raise the limit, or give a "
            "smaller backbone or image_size"
        ) from None
    return RacePlan(time=time, costs=costs, control=control, tried=tried, minutes=minutes, began=began, made=made)
