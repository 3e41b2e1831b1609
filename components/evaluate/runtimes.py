"""One model in every runtime that is installed: is it the same function there, and how fast is it?"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.reading import read_batches
from components.core.evaluation.document import RuntimeFigures, Speedup, Timing
from components.core.runtime.latency import Feed, measure_calls
from components.core.runtime.runtimes import ONNXRUNTIME, Runtime, Session, other_runtimes
from components.core.runtime.self_test_program import ROUNDED, answers, difference
from components.core.runtime.serving import calls_of, made_up_inputs
from components.core.runtime.sessions import SessionError
from components.evaluate.latency import TIMED_ROWS, speedup_of, timing_of

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SELF_TEST_ROWS = 16
"""Made-up inputs on which outputs are compared, as many as a release's self-test has."""


def measure_runtimes(
    bundle: OnnxBundle, dataset: "Dataset | None", split: str, *, threads: int, rounds: Mapping[int, int]
) -> tuple[RuntimeFigures, ...]:
    """The model in onnxruntime and in every other runtime that is installed; empty where there is no other.

    Where there are two, they alternate in blocks as any two models do. A graph is compiled for the batch size that it
    is timed at, where the runtime compiles.

    Args:
        bundle: the model.
        dataset: whose rows are decided on by both; None compares outputs for made-up inputs alone.
        split: of it.
        threads: of each runtime.
        rounds: timed calls of each, at least, by batch size.
    """
    others = other_runtimes()
    if not others:
        return ()
    if bundle.task.timed_units:
        reason = "a call is many steps of growing size, and this runtime is measured compiled for one size"
        return (_figures(ONNXRUNTIME), *(_figures(one, refused=reason) for one in others))
    found: dict[str, dict[str, Any]] = {}
    for one in others:
        try:
            found[one.name] = {**_answers(bundle, one), **_decisions(bundle, one, dataset, split, threads=threads)}
        except SessionError as error:
            found[one.name] = {"refused": str(error)}
    timed = (ONNXRUNTIME, *(one for one in others if "refused" not in found[one.name]))
    latencies: dict[str, list[Timing]] = {one.name: [] for one in timed}
    speedups: dict[str, list[Speedup]] = {one.name: [] for one in timed}
    for batch, count in rounds.items():
        calls = {one.name: _calls(bundle, one, batch=batch, threads=threads) for one in timed}
        measured = measure_calls(calls, threads=threads, batch=batch, rounds=count)
        for name, latency in measured.latencies.items():
            latencies[name].append(timing_of(latency))
        for name in measured.ratios:
            speedups[name].append(speedup_of(batch, measured, name))
    return tuple(
        _figures(
            one, latency=tuple(latencies.get(one.name, ())), speedups=tuple(speedups.get(one.name, ())),
            **found.get(one.name, {}),
        )
        for one in (ONNXRUNTIME, *others)
    )  # fmt: skip


def _figures(runtime: Runtime, **facts: Any) -> RuntimeFigures:
    """Of these facts; what is not among them is not known."""
    known = {
        "latency": (), "speedups": (), "difference": None, "computes_the_same": runtime is ONNXRUNTIME,
        "agreement": None, "compared_rows": 0, "refused": "", **facts,
    }  # fmt: skip
    return RuntimeFigures(name=runtime.name, version=runtime.version, **known)


def _calls(bundle: OnnxBundle, runtime: Runtime, *, batch: int, threads: int) -> Callable[[], None]:
    def opened(path: Path, feed: Feed) -> Session:
        return runtime.open(path, threads=threads, shapes={name: value.shape for name, value in feed.items()})

    return calls_of(bundle, opened, batch=batch)


def _answers(bundle: OnnxBundle, runtime: Runtime) -> dict[str, Any]:
    """How far the outputs lie from onnxruntime's on the self-test's inputs, the worst graph's."""
    worst = 0.0
    for name, path in bundle.graphs.items():
        inputs = made_up_inputs(bundle, name)
        ours, theirs = (
            one.open(path, threads=1, shapes={entry["name"]: entry["shape"] for entry in inputs})
            for one in (ONNXRUNTIME, runtime)
        )
        # Outputs have their order in common; one that leaves the graph twice may have another name here.
        expected = answers(ours, inputs, SELF_TEST_ROWS).values()
        outputs = dict(zip((output.name for output in theirs.get_outputs()), expected, strict=True))
        known = {"inputs": inputs, "rows": SELF_TEST_ROWS, "outputs": outputs}
        worst = max(worst, difference(theirs, known))
    return {"difference": worst if np.isfinite(worst) else None, "computes_the_same": worst <= ROUNDED}


def _decisions(
    bundle: OnnxBundle, runtime: Runtime, dataset: "Dataset | None", split: str, *, threads: int
) -> dict[str, Any]:
    """The share of decisions that both have in common, on rows spread evenly over the split."""
    if dataset is None:
        return {}
    task = bundle.task
    ours, theirs = (
        {name: one.open(path, threads=threads, shapes=None) for name, path in bundle.graphs.items()}
        for one in (ONNXRUNTIME, runtime)
    )
    shares: list[float] = []
    transform = task.transform(bundle.assets, full_size=True)
    read = read_batches(dataset, split, transform, batch_size=task.large_batch, limit=TIMED_ROWS)
    with closing(read) as batches:
        for batch in batches:
            pairs = (
                task.predict(task.run(sessions, batch, bundle.assets), batch, bundle.assets)
                for sessions in (ours, theirs)
            )
            shares += [float(np.mean(np.equal(*pair))) for pair in zip(*pairs, strict=True)]
    return {"agreement": float(np.mean(shares)), "compared_rows": len(shares)}
