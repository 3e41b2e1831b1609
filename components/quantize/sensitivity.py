"""Which products stay float: those whose rounding does most harm to a graph's outputs, as few as needed."""

from collections.abc import Sequence

import onnx

from components.quantize.dynamic_int8 import products, quantize_dynamic
from components.quantize.observe import Feed
from components.quantize.recording import graph_agreement


def products_to_keep(
    model: onnx.ModelProto, feeds: Sequence[Feed], *, kind: str, least_db: float, threads: int
) -> list[str]:
    """Names of weights to leave as they are, so that each output's signal-to-noise ratio is at least `least_db`.

    Each product is made int8 alone; the noisier it is then, the earlier it stays float. Of these orders the shortest
    beginning is taken that reaches the ratio, found by bisection; everything where none does.

    Args:
        model: float32 graph.
        feeds: what it is given, as `recording` keeps it.
        kind: of int8.
        least_db: 0 or less leaves nothing float.
        threads: of onnxruntime.
    """
    if least_db <= 0:
        return []
    whole, names = model.SerializeToString(), products(model)

    def ratio(stay_float: Sequence[str]) -> float:
        candidate = quantize_dynamic(model, kind=kind, stay_float=stay_float).SerializeToString()
        return graph_agreement(whole, candidate, feeds, threads=threads).signal_to_noise_db

    if ratio([]) >= least_db:
        return []
    alone = {name: ratio([other for other in names if other != name]) for name in names}
    order = sorted(names, key=lambda name: (alone[name], name))
    low, high = 1, len(order)
    while low < high:
        middle = (low + high) // 2
        if ratio(order[:middle]) >= least_db:
            high = middle
        else:
            low = middle + 1
    return order[:low]
