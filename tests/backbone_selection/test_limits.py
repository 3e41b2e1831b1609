import pytest
import torch
from torch import nn

from components.backbone_selection import limits as module
from components.backbone_selection.limits import Cost, Limits, measure_costs, refuse_if_none_fits, rejection
from components.core.errors import UserError
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec

COST = Cost(parameters=3_400_000, macs=31_000_000, latency_ms=1.5)


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def graphs(*, side: int) -> dict[str, Graph]:
    inputs = (InputSpec(name="images", dtype="float32", shape=(BATCH, 3, side, side)),)
    return {"model": Graph(module=Net(), inputs=inputs, outputs=(OutputSpec(name="logits", shape=(BATCH, 2)),))}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(), None),
        (Limits(max_parameters_m=3.4, max_macs_m=31, max_latency_ms=1.5), None),
        (Limits(max_parameters_m=3.3), "parameters 3.4 M above max_parameters_m 3.3"),
        (Limits(max_macs_m=30), "MACs 31 M above max_macs_m 30"),
        (
            Limits(max_macs_m=30, max_latency_ms=1),
            "MACs 31 M above max_macs_m 30; latency 1.5 ms above max_latency_ms 1",
        ),
    ],
)
def test_candidate_above_a_limit_is_rejected_with_figure_and_limit(limits: Limits, reason: str | None) -> None:
    assert rejection(COST, limits) == reason


@pytest.mark.parametrize("name", ["max_parameters_m", "max_macs_m", "max_latency_ms"])
@pytest.mark.parametrize("value", [0.0, -2.0, float("nan"), float("inf")])
def test_limit_that_nothing_can_keep_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} must be greater than 0"):
        Limits(**{name: value})


def test_impossible_limits_list_every_candidate_with_its_figures() -> None:
    costs = {"a": COST, "b": Cost(parameters=10_000_000, macs=2_000_000_000, latency_ms=22.25)}
    limits = Limits(max_latency_ms=1)
    refuse_if_none_fits(costs, ["a"], limits)
    with pytest.raises(
        UserError,
        match=r"\(max_latency_ms 1\); a: 3\.40 M parameters, 31\.0 M MACs, 1\.50 ms; b: 10\.0 M .*, 2\.00 G MACs, 2",
    ):
        refuse_if_none_fits(costs, ["a", "b"], limits)


def test_costs_are_counted_and_measured() -> None:
    costs = measure_costs({"a": graphs(side=16), "b": graphs(side=32)})
    assert costs["a"].parameters == 4 * 28 + 10
    assert (costs["a"].macs, costs["b"].macs) == (4 * 27 * 16**2 + 8, 4 * 27 * 32**2 + 8)
    assert costs["a"].size_mb == pytest.approx(122 * 4 / 1e6)
    assert costs["a"].latency_ms > 0


def test_network_that_the_quick_exporter_refuses_is_timed_through_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("no")

    monkeypatch.setattr(module, "export_for_timing", fail)
    assert measure_costs({"a": graphs(side=16)})["a"].latency_ms > 0
