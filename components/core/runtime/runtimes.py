"""Runtimes that can serve an ONNX file here: onnxruntime always, and OpenVINO where it is installed.

All are used through the few methods of onnxruntime's session that stages call. OpenVINO reads the released file itself,
QuantizeLinear and DequantizeLinear included; nothing is converted.
"""

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort

from components.core.runtime.sessions import SessionError, open_session

Shapes = Mapping[str, Sequence[int]]
DISTRIBUTION = "openvino"


class Tensor(NamedTuple):
    """An input or output of a graph: its name, and its sizes, with a text for each that is free."""

    name: str
    shape: list[int | str]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used."""

    def get_inputs(self) -> Sequence[Any]: ...

    def get_outputs(self) -> Sequence[Any]: ...

    def run(self, names: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


class OpenGraph(Protocol):
    """Opens one ONNX file on the CPU; `shapes` are those of all inputs of all calls, None where they vary.

    Raises:
        SessionError: the runtime cannot run the file.
    """

    def __call__(self, path: Path, *, threads: int, shapes: Shapes | None) -> Session: ...


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime by the name that people know, its version, and how it opens a graph."""

    name: str
    version: str
    open: OpenGraph


def _onnxruntime(path: Path, *, threads: int, shapes: Shapes | None) -> Session:
    return open_session(path, threads=threads)


ONNXRUNTIME = Runtime(name="onnxruntime", version=ort.__version__, open=_onnxruntime)
"""The one that releases are made and evaluated with."""


def other_runtimes() -> tuple[Runtime, ...]:
    """The runtimes besides onnxruntime that are installed; OpenVINO once more in bf16 where this CPU computes in it.

    An installed OpenVINO that cannot be imported is one whose every graph raises SessionError with the reason.
    """
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ()
    found = [Runtime(name="OpenVINO", version=version, open=partial(_openvino, precision="f32"))]
    try:
        has_bf16 = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except SessionError:
        has_bf16 = False
    if has_bf16:
        found.append(Runtime(name="OpenVINO in bf16", version=version, open=partial(_openvino, precision="bf16")))
    return tuple(found)


def _core() -> Any:
    # Importing openvino reports the use to its makers over the network, and writes a number for this user into the home
    # folder. It does neither where its package for that is missing; a measurement here is nobody else's business.
    reporting = "openvino_telemetry"
    known = reporting in sys.modules
    if not known:
        sys.modules[reporting] = None  # type: ignore[assignment]
    try:
        import openvino

        return openvino.Core()
    except (ImportError, OSError, RuntimeError) as error:
        raise SessionError(f"OpenVINO cannot be imported: {_first_line(error)}") from error
    finally:
        if not known:
            sys.modules.pop(reporting, None)


def _openvino(path: Path, *, threads: int, shapes: Shapes | None, precision: str) -> "OpenVinoSession":
    core = _core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Else it computes in bf16 where the CPU can, without saying so.
        "INFERENCE_PRECISION_HINT": precision,
        # Else the calling thread is bound to a core, and whatever else is measured in this process with it.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        model = core.read_model(path)
        if shapes is not None:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
        return OpenVinoSession(core.compile_model(model, "CPU", settings))
    except RuntimeError as error:
        raise SessionError(f"OpenVINO cannot open {path.name}: {_first_line(error)}") from error


class OpenVinoSession:
    """A compiled model behind the methods of `Session`."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = [_tensor(one) for one in compiled.inputs]
        self._outputs = {name: one for one in compiled.outputs for name in one.get_names()}
        self._first_names = [_tensor(one) for one in compiled.outputs]

    def get_inputs(self) -> list[Tensor]:
        return self._inputs

    def get_outputs(self) -> list[Tensor]:
        return self._first_names

    def run(self, names: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs by name, in that order; all of them for None. As onnxruntime, it copies outputs and no inputs.

        Raises:
            SessionError: OpenVINO's own refusal.
        """
        wanted = names if names is not None else [one.name for one in self._first_names]
        given = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        try:
            found = self._request.infer(given, share_inputs=True)
        except RuntimeError as error:
            raise SessionError(f"OpenVINO cannot run the graph: {_first_line(error)}") from error
        return [found[self._outputs[name]] for name in wanted]


def _tensor(port: Any) -> Tensor:
    sizes = [size.get_length() if size.is_static else str(size) for size in port.get_partial_shape()]
    return Tensor(name=port.get_any_name(), shape=sizes)


def _first_line(error: BaseException) -> str:
    """The line that says what is wrong: OpenVINO puts the places in its own source before it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return lines[0].strip() if lines else type(error).__name__
