"""KServe's Python server with the models of a repository: `python kserve_server.py REPOSITORY PORT`."""

import os
import sys
from pathlib import Path

import kserve
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse


class Released(kserve.Model):
    """One model, in onnxruntime."""

    def __init__(self, folder: Path):
        super().__init__(folder.name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ["ONNXRUNTIME_THREADS"])
        path = str(folder / "1" / "model.onnx")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    def get_input_types(self) -> list[dict]:
        return [_described(one) for one in self.session.get_inputs()]

    def get_output_types(self) -> list[dict]:
        return [_described(one) for one in self.session.get_outputs()]

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        feed = {one.name: one.as_numpy() for one in payload.inputs}
        answers = []
        for known, values in zip(self.session.get_outputs(), self.session.run(None, feed), strict=True):
            output = InferOutput(name=known.name, shape=list(values.shape), datatype="FP32")
            output.set_data_from_numpy(values, binary_data=bool(payload.request_outputs))
            answers.append(output)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=answers)


def _described(one: ort.NodeArg) -> dict:
    shape = [size if isinstance(size, int) else -1 for size in one.shape]
    return {"name": one.name, "datatype": {"tensor(uint8)": "UINT8"}.get(one.type, "FP32"), "shape": shape}


if __name__ == "__main__":
    folders = sorted(path.parent for path in Path(sys.argv[1]).glob("*/config.pbtxt"))
    kserve.ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1).start(
        [Released(folder) for folder in folders]
    )
