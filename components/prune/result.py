"""The result of a pruning run."""

from dataclasses import dataclass, field

from components.core.bundles.model_bundle import ModelBundle
from components.core.models.sparsity import share_of_zeros
from components.core.tasks.metric import Metric
from components.core.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Latency of a call before and after, as the cost table predicts it: microseconds, at batch 1.

    `prices`: group → microseconds that go with one of its channels. `scheme`: the number format that was measured, on
    this `processor` with this onnxruntime and so many threads.
    """

    before_us: float
    after_us: float
    prices: dict[str, float]
    scheme: str
    threads: int
    processor: str
    onnxruntime: str

    @property
    def fraction(self) -> float:
        """The fraction of the latency that was reached."""
        return self.after_us / self.before_us


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Costs of widths on training images, as the divergence from the whole network's answers, and what came of it.

    `curves`: group → channels removed → loss, everything else being whole; `removed`: group → channels removed by the
    choice; `measured`: what it loses; `gap`: how far its sum of losses may be from the least, as a fraction of it.
    """

    curves: dict[str, dict[int, float]]
    removed: dict[str, int]
    measured: float
    gap: float

    def to_json(self) -> dict[str, list[list[float]]]:
        """Group → [channels removed, loss] of each measured width."""
        return {name: [[gone, round(loss, 6)] for gone, loss in curve.items()] for name, curve in self.curves.items()}


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The pruned bundle and what was done.

    `groups`: name → (kept, total) channels or units, in the order of the network; `notes`: what a task did besides;
    `predicted`: where latency was the price; `sensitivity`: where widths were chosen by it.
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
    predicted: Predicted | None = None
    sensitivity: Sensitivity | None = None

    @property
    def macs_fraction(self) -> float:
        """The fraction of multiply-accumulates that was reached."""
        return self.macs_after / self.macs_before

    @property
    def zero_weights(self) -> float:
        """Share of the weights that were set to zero; 0 where none were."""
        return share_of_zeros(self.bundle.module) if self.bundle.architecture.sparse else 0.0

    @property
    def fraction(self) -> float:
        """The fraction that was reached of what channels were priced in."""
        return self.macs_fraction if self.predicted is None else self.predicted.fraction

    def facts(self) -> dict[str, float]:
        """The metrics that the stage logs."""
        if self.predicted is None:
            return self.lasting_facts()
        return self.lasting_facts() | {
            "predicted_latency_ms_before": self.predicted.before_us / 1000,
            "predicted_latency_ms": self.predicted.after_us / 1000,
            "predicted_latency_fraction": self.predicted.fraction,
        }

    def lasting_facts(self) -> dict[str, float]:
        """Facts that do not depend on where the model is measured; they become metadata, on which cache keys rest."""
        facts = {
            "macs_before": float(self.macs_before),
            "macs_after": float(self.macs_after),
            "macs_fraction": self.macs_fraction,
            "parameters_before": float(self.parameters_before),
            "parameters_after": float(self.parameters_after),
            "parameters_fraction": self.parameters_after / self.parameters_before,
        }
        if self.zero_weights:
            facts["zero_weights"] = self.zero_weights
        if self.sensitivity is not None:
            facts["divergence"] = self.sensitivity.measured
        if self.accuracy_before is not None and self.accuracy_after is not None:
            facts[f"validation_{self.metric.name}_before"] = self.accuracy_before.metric
            facts[f"validation_{self.metric.name}"] = self.accuracy_after.metric
        return facts
