"""Open an ONNX file in onnxruntime the way it is measured and served: CPU, all optimizations, stated threads."""

import os
from pathlib import Path

import onnxruntime as ort

from components.core.errors import UserError

ERROR_SEVERITY = 3


class SessionError(RuntimeError):
    """onnxruntime cannot run a graph. Where trimtab has made the graph, that is a defect of trimtab."""


def open_session(model: str | os.PathLike[str] | bytes, *, threads: int = 1) -> ort.InferenceSession:
    """An inference session on the CPU.

    Args:
        model: path of an ONNX file, or its bytes.
        threads: threads inside an operator; operators run one after another.

    Raises:
        UserError: the file does not exist.
        SessionError: it is not a model that onnxruntime can run.
    """
    if threads < 1:
        raise UserError(f"threads must be at least 1, got {threads}")
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise UserError(f"no ONNX file at {os.fspath(model)}")
    options = session_options(threads=threads)
    source = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions (Fail, InvalidGraph, InvalidProtobuf, ...) share no base below Exception.
    except Exception as error:
        where = "the given bytes" if isinstance(model, bytes) else os.fspath(model)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SessionError(f"onnxruntime cannot open {where}: {reason}") from error


def session_options(*, threads: int) -> ort.SessionOptions:
    """The one place that says how models are run here."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERROR_SEVERITY
    return options
