"""Accuracy control: which layers stay float so that the integer model loses no more than is allowed.

Each layer is ranked once, by the noise of the outputs when it alone is an integer. The noisiest go back to float
together, the fewest that are enough, found by bisection: each try is a whole int8 model, measured on validation rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.runtime.latency import measure
from components.core.runtime.sessions import open_session
from components.quantize.int8 import Calibrated, Quantized
from components.quantize.observe import Feed
from components.quantize.recording import graph_agreement

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ROUNDS = 24


@dataclass(frozen=True, kw_only=True)
class Try:
    """One model: how many layers are float because they were put back, and the points it loses on validation rows."""

    reverted: int
    drop: float


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """The model that holds the limit, the layers put back to float (the noisiest first), and all tries in order."""

    quantized: Quantized
    reverted: tuple[str, ...]
    tries: tuple[Try, ...]

    def to_json(self, *, allowed: float, split: str, rows: int) -> dict[str, Any]:
        """The record of it in the release."""
        return {
            "allowed_points": allowed,
            "split": split,
            "rows": rows,
            "reverted": list(self.reverted),
            "tries": [{"reverted": one.reverted, "drop_points": round(one.drop, 4)} for one in self.tries],
        }


def control_accuracy(
    calibrated: Calibrated,
    *,
    allowed: float,
    drop: Callable[[bytes], float],
    sample: Sequence[Feed],
    report: Callable[[str], None] = print,
) -> Controlled:
    """The int8 model with the fewest layers in float that loses at most `allowed` points.

    Args:
        calibrated: the float graph with its ranges.
        allowed: points, at least 0.
        drop: file → points that it loses against the float model on validation rows.
        sample: training rows that rank the layers.
        report: takes a line per try: points lost, and median latency of one row with one thread. A layer in float may
            cost no time, a depthwise one for instance.
    """
    tries: list[Try] = []

    def attempt(names: Sequence[str]) -> Quantized:
        made = calibrated.integers(_with_followers(calibrated, names))
        content = made.model.SerializeToString(deterministic=True)
        tries.append(Try(reverted=len(names), drop=drop(content)))
        # Said, not recorded: no choice depends on it, and equal runs give equal files.
        report(f"{len(names)} layers in float: {tries[-1].drop:.2f} points lost, {_latency(content, sample):.2f} ms")
        return made

    made = attempt([])
    if tries[-1].drop <= allowed:
        return Controlled(quantized=made, reverted=(), tries=tuple(tries))
    order = _noisiest_first(calibrated, sample)
    kept, low, high = None, 1, len(order)
    while low < high:
        middle = (low + high) // 2
        made = attempt(order[:middle])
        if tries[-1].drop <= allowed:
            kept, high = made, middle
        else:
            low = middle + 1
    # With every layer in float nothing is left to round: that holds any limit, and need not be tried before.
    return Controlled(quantized=kept or attempt(order), reverted=tuple(order[:high]), tries=tuple(tries))


def _noisiest_first(calibrated: Calibrated, sample: Sequence[Feed]) -> list[str]:
    """The layers with constant weights that are integers, by the outputs' signal-to-noise ratio with each one alone."""
    model = calibrated.model
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [
        node.name
        for node in model.graph.node
        if node.op_type in _WEIGHTED and node.input[1] in constants and node.name not in calibrated.floating
    ]
    whole = model.SerializeToString()
    alone = {}
    for name in names:
        others = [other for other in names if other != name]
        candidate = calibrated.integers(_with_followers(calibrated, others)).model.SerializeToString()
        alone[name] = graph_agreement(whole, candidate, sample, threads=calibrated.threads).signal_to_noise_db
    return sorted(names, key=lambda name: (alone[name], name))


def _latency(content: bytes, sample: Sequence[Feed]) -> float:
    """Milliseconds of a warm call with one row."""
    row = {name: values[:1] for name, values in sample[0].items()}
    measured = measure({"model": open_session(content)}, lambda _: row, rounds=_ROUNDS, precision=None)
    return measured.latencies["model"].p50_ms


def _with_followers(calibrated: Calibrated, names: Sequence[str]) -> list[str]:
    """The layers, and every other node that reads nothing but what they and other float nodes give.

    An activation function or an addition between layers in float would be quantized for nothing.
    """
    if not names:
        return []
    floating, found = {*calibrated.floating, *names}, list(names)
    producers = {tensor: node.name for node in calibrated.model.graph.node for tensor in node.output}
    for node in calibrated.model.graph.node:
        read = [producers[tensor] for tensor in node.input if tensor in producers]
        if node.op_type not in _WEIGHTED and read and floating.issuperset(read):
            floating.add(node.name)
            found.append(node.name)
    return found
