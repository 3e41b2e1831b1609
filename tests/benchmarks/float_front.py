"""Speed of int8 networks with their front in float and in integers, against float32.

    nice python tests/benchmarks/float_front.py

Weights and calibration are random: speed only. Method as in segmentation_speed.py: one thread, the sessions of one
network in turn, 20th percentile of the process's CPU time per call.
"""

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import onnxruntime as ort
import timm
import torch
from segmentation_speed import cpu_milliseconds, processor

from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec, examples
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.quantize.int8 import calibrate

NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "mobilenetv2_100", "mobilenetv3_small_100", "mnasnet_100")
CLASSES, SIZE, BATCHES, CALIBRATED = 10, 96, (1, 8), 8


def files(name: str, folder: Path) -> dict[str, bytes]:
    """The network in float32, as integers throughout, and with its front in float."""
    graph = Graph(
        module=timm.create_model(name, num_classes=CLASSES).eval(),
        inputs=(InputSpec(name="images", dtype="float32", shape=(BATCH, 3, SIZE, SIZE)),),
        outputs=(OutputSpec(name="logits", shape=(BATCH, CLASSES)),),
    )
    export_onnx(graph, folder / "float.onnx")

    def int8() -> bytes:
        made = calibrate(
            folder / "float.onnx",
            lambda: iter([examples(graph.inputs, {"batch": CALIBRATED}, seed=0)]),
            method="minmax",
        ).integers()
        return made.model.SerializeToString(deterministic=True)

    with patch("components.core.runtime.integer_graph.float_front", return_value=[]):
        throughout = int8()
    return {"float32": (folder / "float.onnx").read_bytes(), "integers": throughout, "front in float": int8()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        f"{processor()}, onnxruntime {ort.__version__}, one thread, 20th percentile of CPU time, interleaved, {SIZE} px"
    )
    print(f"network | integers throughout, batch {BATCHES[0]} / {BATCHES[1]} | front in float")
    for name in NETWORKS:
        with tempfile.TemporaryDirectory(prefix="trimtab-front-") as folder:
            sessions = {kind: open_session(data) for kind, data in files(name, Path(folder)).items()}
        figures = [cpu_milliseconds(sessions, batch, rounds) for batch in BATCHES]
        columns = [
            " / ".join(f"{one['float32'] / one[kind]:.2f}x" for one in figures)
            for kind in ("integers", "front in float")
        ]
        print(f"{name} | {' | '.join(columns)}", flush=True)


if __name__ == "__main__":
    main()
