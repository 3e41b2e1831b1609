"""An ONNX file that is good for timing only, written in a tenth of the time that a release's takes."""

import warnings
from pathlib import Path

import torch

from components.core.models.complexity import example_tensors
from components.core.models.inputs import Graph


def export_for_timing(graph: Graph, path: Path) -> None:
    """Writes the graph at batch 1 with all shapes fixed; nobody compares what it computes.

    With all shapes fixed, onnxruntime folds this exporter's 600 nodes to the graph that the release's exporter writes:
    the same latency at batch 1, for a tenth of the time (0.4 s instead of 4.6 s a network).

    Raises:
        TypeError, RuntimeError: the exporter cannot write the module.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module,
            tuple(example_tensors(graph.inputs, graph.sizes(1), torch.device("cpu"))),
            str(path),
            dynamo=False,
            input_names=[spec.name for spec in graph.inputs],
            output_names=[output.name for output in graph.outputs],
            opset_version=18,
        )
