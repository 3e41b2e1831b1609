"""A backend of Triton in Python that stands for its onnxruntime backend: `1/model.onnx`, requests batched by Triton."""

import os
import sys
from pathlib import Path

# Triton's interpreter ignores PYTHONPATH.
sys.path.insert(0, os.environ["ONNXRUNTIME_PACKAGES"])

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Triton's interface: one object per instance of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ["ONNXRUNTIME_THREADS"])
        model = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    def execute(self, requests: list) -> list:
        """One call of onnxruntime for all requests that Triton hands over together."""
        given = [
            {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        feed = {name: np.concatenate([one[name] for one in given]) for name in self.inputs}
        ends = np.cumsum([len(one[self.inputs[0]]) for one in given])[:-1]
        parts = [np.split(answer, ends) for answer in self.session.run(self.outputs, feed)]
        return [
            triton.InferenceResponse(
                [triton.Tensor(name, part[number]) for name, part in zip(self.outputs, parts, strict=True)]
            )
            for number in range(len(requests))
        ]
