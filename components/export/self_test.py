"""The self-test of a release: a program, and the outputs that it compares with on the machine that serves."""

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.evaluation.document import Evaluation
from components.core.runtime import self_test_program
from components.core.runtime.host import describe_host
from components.core.runtime.serving import made_up_inputs, open_graphs
from components.export.verification import VerificationError

FORMAT = 1
ROWS = 16
"""Calls of each graph. Their inputs are made up, for a release is no place for rows of a data set."""

PROGRAM = Path(self_test_program.__file__).read_text(encoding="utf-8")


def self_test(bundle: OnnxBundle, evaluation: Evaluation) -> dict[str, Any]:
    """The content of self_test.json: inputs and outputs of each graph on this machine, and which machine it is.

    The answers are those of the program itself.

    Args:
        bundle: what is released.
        evaluation: of it; gives the latency that the card states.

    Raises:
        VerificationError: a graph does not answer twice the same, or with what is no number.
    """
    graphs = {}
    for name, session in open_graphs(bundle).items():
        inputs = made_up_inputs(bundle, name)
        outputs = self_test_program.answers(session, inputs, ROWS)
        known = {
            "inputs": inputs,
            "rows": ROWS,
            "outputs": {output: [float(f"{value:.7g}") for value in values] for output, values in outputs.items()},
        }
        if not self_test_program.difference(session, known) <= self_test_program.EQUAL:
            raise VerificationError(f"{name}.onnx does not repeat its own answers to the self-test")
        graphs[name] = known
    host = describe_host()
    return {
        "format": FORMAT,
        "graphs": graphs,
        "processor": host["processor"],
        "onnxruntime": ort.__version__,
        "latency_ms": evaluation.candidate.at(1).p50_ms if len(graphs) == 1 else None,
    }


def encoded(record: dict[str, Any]) -> bytes:
    """Without white space: it is mostly numbers."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False, sort_keys=True).encode() + b"\n"
