"""What a pruning run gives."""

from dataclasses import dataclass, field

from components.core.bundles.model_bundle import ModelBundle
from components.core.tasks.metric import Metric
from components.core.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The pruned bundle and what was done.

    `groups`: name → (kept, total) channels or units, in the order of the network; `notes`: what a task did besides.
    """

    bundle: ModelBundle
    metric: Metric
    groups: dict[str, tuple[int, int]]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    accuracy_before: Validation | None
    accuracy_cut: Validation | None
    accuracy_after: Validation | None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def macs_fraction(self) -> float:
        """The fraction of multiply-accumulates that was reached."""
        return self.macs_after / self.macs_before

    def facts(self) -> dict[str, float]:
        """What the stage logs as metrics."""
        facts = {
            "macs_before": float(self.macs_before),
            "macs_after": float(self.macs_after),
            "macs_fraction": self.macs_fraction,
            "parameters_before": float(self.parameters_before),
            "parameters_after": float(self.parameters_after),
            "parameters_fraction": self.parameters_after / self.parameters_before,
        }
        if self.accuracy_before is not None and self.accuracy_after is not None:
            facts[f"validation_{self.metric.name}_before"] = self.accuracy_before.metric
            facts[f"validation_{self.metric.name}"] = self.accuracy_after.metric
        return facts
