"""The graphs of an ONNX bundle, opened and called as they are served."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from components.core.models.inputs import BATCH, InputSpec, examples, trials
from components.core.runtime.latency import Feed
from components.core.runtime.sessions import open_session

if TYPE_CHECKING:
    from components.core.bundles.onnx_bundle import OnnxBundle

INPUTS = "graphs"
"""Where a bundle's provenance describes what each graph takes: `{graph: {"inputs": [InputSpec], "free": {…}}}`, with
"multiples" where there are any."""


def open_graphs(bundle: "OnnxBundle", *, threads: int = 1) -> dict[str, ort.InferenceSession]:
    """A session per graph, by name."""
    return {name: open_session(path, threads=threads) for name, path in bundle.graphs.items()}


def graph_inputs(bundle: "OnnxBundle", graph: str) -> tuple[tuple[InputSpec, ...], dict[str, int]]:
    """The inputs of a graph, and the sizes at which its free dimensions but the batch are measured."""
    described: dict[str, Any] = bundle.provenance.get(INPUTS) or {}
    if graph not in described:
        # Made before graphs were described: one graph, which takes what the network takes.
        return bundle.task.inputs(bundle.assets), {}
    known = described[graph]
    specs = tuple(
        InputSpec(**{**spec, "shape": tuple(spec["shape"]), "typical": tuple(spec.get("typical", {}).items())})
        for spec in known["inputs"]
    )
    return specs, dict(known["free"])


def graph_trials(bundle: "OnnxBundle", graph: str) -> list[dict[str, int]]:
    """The sizes of a graph's free dimensions but the batch at which it is compared; one, unless some may vary."""
    described: dict[str, Any] = bundle.provenance.get(INPUTS) or {}
    known = described.get(graph, {})
    return trials(known.get("free", {}), known.get("multiples", {}))


def made_up_inputs(bundle: "OnnxBundle", graph: str) -> list[dict[str, Any]]:
    """A graph's inputs for one row, as the self-test program makes them up: name, dtype, shape and `high` of each."""
    specs, free = graph_inputs(bundle, graph)
    return [
        {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.sizes({BATCH: 1, **free})), "high": spec.high}
        for spec in specs
    ]


def graph_calls(bundle: "OnnxBundle", *, batch: int, threads: int) -> Callable[[], None]:
    """A call that runs each graph once on `batch` random rows."""
    return calls_of(bundle, lambda path, _: open_session(path, threads=threads), batch=batch)


def calls_of(bundle: "OnnxBundle", opened: Callable[[Path, Feed], Any], *, batch: int) -> Callable[[], None]:
    """As `graph_calls`, of sessions that `opened` gives for a graph's file and the inputs of all calls of it."""
    runs = []
    for name, path in bundle.graphs.items():
        specs, free = graph_inputs(bundle, name)
        feed = examples(specs, {BATCH: batch, **free})
        runs.append((opened(path, feed), feed))

    def call() -> None:
        for session, feed in runs:
            session.run(None, feed)

    return call
