"""Write a torch module as one ONNX file, deterministically, and prove that it computes the same.

The dynamo exporter is tried first, the legacy one is the fallback; both stand behind the same parity check. The
file carries no machine path, no stack trace and no build number: the same weights give the same bytes.
"""

import contextlib
import copy
import inspect
import io
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch import nn

from components.core.models.inputs import BATCH, Graph, examples
from components.core.runtime.metadata import strip_metadata
from components.core.runtime.sessions import SessionError, open_session

RELATIVE_TOLERANCE = 1e-3
"""Largest |torch − onnxruntime| allowed, as a fraction of the largest |output|; an honest export stays near 1e-5."""

# A batch of 1 would be specialised to a constant by the exporter.
EXAMPLE_BATCH = 2

Exporter = Literal["dynamo", "legacy"]


class ParityError(RuntimeError):
    """The exported file does not compute what the torch module computes."""


class ExportError(RuntimeError):
    """No exporter could write the module."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """How a file was written: exporter, opset, and its parity with torch."""

    exporter: Exporter
    opset: int
    parity: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_onnx(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    opset: int = 18,
    exporters: Sequence[Exporter] = ("dynamo", "legacy"),
) -> Export:
    """Write the graph's module to `path` as ONNX, with its named inputs, outputs and free dimensions.

    The module is not changed (a copy on the CPU, in eval mode, is exported). Batch norms are folded into their
    convolutions. The file appears whole or not at all, holds all weights itself, and is a function of the weights
    and the architecture only.

    Args:
        graph: the module, what it takes and gives.
        path: file to write.
        opset: ONNX operator set, at least 18.
        exporters: tried in this order until one passes the parity check.

    Returns:
        the exporter that succeeded, the opset of the file, and the parity figures.

    Raises:
        ExportError: no exporter could write the module.
        ParityError: a file could be written, but none agreed with torch.
    """
    if opset < 18:
        raise ValueError(f"opset must be at least 18, got {opset}")
    target = Path(path)
    plain = replace(graph, module=_plain_copy(graph.module))
    failures: list[str] = []
    disagreement: ParityError | None = None
    for exporter in exporters:
        with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
            draft = Path(folder) / "model.onnx"
            try:
                with _quiet():
                    _WRITERS[exporter](plain, draft, opset)
            except Exception as error:  # noqa: BLE001 -- the exporters raise anything; it is told in ExportError
                failures.append(f"{exporter}: {type(error).__name__}: {_first_line(error)}")
                continue
            model = onnx.load(draft)
            strip_metadata(model)
            onnx.checker.check_model(model)
            data = model.SerializeToString(deterministic=True)
        try:
            figures = _compare(plain, data, (1, 3), 0)
        except ParityError as error:
            disagreement = error
            failures.append(f"{exporter}: {_first_line(error)}")
            continue
        except SessionError as error:
            failures.append(f"{exporter}: {_first_line(error)}")
            continue
        _write_whole(target, data)
        return Export(exporter=exporter, opset=model.opset_import[0].version, parity=figures)
    message = "; ".join(failures)
    if disagreement is not None:
        raise ParityError(message) from disagreement
    raise ExportError(f"the network could not be exported to ONNX: {message}")


def parity(
    graph: Graph,
    onnx_path: str | os.PathLike[str] | bytes,
    batch_sizes: Sequence[int] = (1, 3),
    seed: int = 0,
) -> dict[str, Any]:
    """Compare torch and onnxruntime (both float32, CPU) on random examples of the inputs, at each batch size.

    Returns:
        Of all outputs together `max_abs_difference` and `relative_difference` (divided by the largest |output|);
        `argmax_agreement` of the first output along its second dimension, in 0..1; the `tolerance` on the relative
        difference and the `batch_sizes`; with several trials of the free dimensions their `sizes`.

    Raises:
        ParityError: the relative difference is above `RELATIVE_TOLERANCE`, or an output is not finite.
    """
    data = onnx_path if isinstance(onnx_path, bytes) else Path(onnx_path).read_bytes()
    return _compare(replace(graph, module=_plain_copy(graph.module)), data, batch_sizes, seed)


def _compare(graph: Graph, data: bytes, batch_sizes: Sequence[int], seed: int) -> dict[str, Any]:
    session = open_session(data)
    names = [output.name for output in graph.outputs]
    difference, scale, agreed, rows = 0.0, 0.0, 0, 0
    for batch, sizes in itertools.product(batch_sizes, graph.trials):
        feed = examples(graph.inputs, {BATCH: batch, **sizes}, seed=seed)
        with torch.inference_mode():
            given = graph.module(*(torch.from_numpy(feed[spec.name]) for spec in graph.inputs))
        wanted = [given] if isinstance(given, torch.Tensor) else list(given)
        found = session.run(names, feed)
        for name, tensor, actual in zip(names, wanted, found, strict=True):
            expected = tensor.numpy()
            if actual.shape != expected.shape:
                raise ParityError(f"batch {batch}: {name}: onnxruntime gives {actual.shape}, torch {expected.shape}")
            if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
                raise ParityError(f"batch {batch}: {name} is not finite")
            difference = max(difference, float(np.abs(expected - actual).max()))
            scale = max(scale, float(np.abs(expected).max()))
        first = wanted[0].numpy()
        if first.ndim > 1:
            agreed += int((first.argmax(1) == found[0].argmax(1)).sum())
            rows += first.argmax(1).size
    relative = difference / scale if scale else difference
    if relative > RELATIVE_TOLERANCE:
        raise ParityError(
            f"outputs differ by {difference:.3g}, {relative:.2g} of the largest; allowed {RELATIVE_TOLERANCE:g}"
        )
    return {
        "max_abs_difference": difference,
        "relative_difference": relative,
        "argmax_agreement": agreed / rows if rows else 1.0,
        "tolerance": RELATIVE_TOLERANCE,
        "batch_sizes": list(batch_sizes),
        **({"sizes": graph.trials} if len(graph.trials) > 1 else {}),
    }


def _plain_copy(module: nn.Module) -> nn.Module:
    plain = copy.deepcopy(module).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    plain = plain.eval().requires_grad_(False)
    for part in plain.modules():
        # In-place activations double the exporter's time (7.7 s → 4.6 s for EfficientNet-Lite0): each one
        # is functionalised under symbolic shapes. The result is the same.
        if isinstance(getattr(part, "inplace", None), bool):
            part.inplace = False  # type: ignore[assignment]
    return plain


def _write_dynamo(graph: Graph, path: Path, opset: int) -> None:
    names = {name for spec in graph.inputs for name in spec.shape if isinstance(name, str)}
    steps = dict(graph.multiples)
    dimensions = {
        name: steps[name] * torch.export.Dim(f"{name}_steps") if name in steps else torch.export.Dim(name)
        for name in sorted(names)
    }
    shapes: tuple[Any, ...] = tuple(
        {axis: dimensions[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in graph.inputs
    )
    for place, parameter in enumerate(inspect.signature(graph.module.forward).parameters.values()):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shapes = (*shapes[:place], shapes[place:])  # torch.export takes *states for one argument
    program = torch.onnx.export(
        graph.module,
        _example(graph),
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=[spec.name for spec in graph.inputs],
        output_names=[output.name for output in graph.outputs],
        opset_version=opset,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)


def _write_legacy(graph: Graph, path: Path, opset: int) -> None:
    shapes = {spec.name: spec.shape for spec in graph.inputs} | {out.name: out.shape for out in graph.outputs}
    torch.onnx.export(
        graph.module,
        _example(graph),
        str(path),
        dynamo=False,
        dynamic_axes={
            name: {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}
            for name, shape in shapes.items()
        },
        input_names=[spec.name for spec in graph.inputs],
        output_names=[output.name for output in graph.outputs],
        opset_version=opset,
    )


def _example(graph: Graph) -> tuple[torch.Tensor, ...]:
    # One tensor object per input: torch.export takes one that is given twice for one and the same input.
    # The largest trial: a map of one pixel, as of the smallest image, would be specialised like a batch of 1.
    feed = examples(graph.inputs, {BATCH: EXAMPLE_BATCH, **graph.trials[-1]})
    return tuple(torch.from_numpy(feed[spec.name]) for spec in graph.inputs)


_WRITERS = {"dynamo": _write_dynamo, "legacy": _write_legacy}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters print progress and warn about each other; a failure still raises."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)
