"""One task of `frontier.py` by hand, run in the virtual environment that has its packages.

    python tests/benchmarks/frontier_peers.py JOB.json

The job names the task, its files and its settings; the answer is written where the job says.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frontier_training import BATCH_SIZE, Images, accuracy, graph_of, network, recalibrate, train
from torch import nn
from torch.nn.functional import cross_entropy

from components.core.models.complexity import count_macs
from components.core.runtime.latency import measure_calls
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session

CALIBRATION_IMAGES = 512
ROUND_TO = 16
TAYLOR_BATCHES = 8
MOST_PRUNED = 0.9
Predict = Callable[[np.ndarray], np.ndarray]
Prune = Callable[[nn.Module, float], None]


def expansions(module: nn.Module) -> list[nn.Module]:
    """The blocks whose channels are first expanded, so that cutting these changes nothing outside."""
    return [block for stage in module.blocks for block in stage if hasattr(block, "conv_pwl")]


def others(module: nn.Module) -> list[nn.Module]:
    """All convolutions and the last layer but the expansions: global ratios over all groups destroy EfficientNets."""
    kept = {id(block.conv_pw) for block in expansions(module)} | {id(block.conv_dw) for block in expansions(module)}
    return [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.Linear) and id(one) not in kept]


def prune_torch_pruning(module: nn.Module, ratio: float, *, side: int) -> None:
    """Group Taylor importance from gradients that the module has, the same ratio of each group."""
    import torch_pruning

    pruner = torch_pruning.pruner.MetaPruner(
        module, torch.zeros(2, 3, side, side), importance=torch_pruning.importance.GroupTaylorImportance(),
        pruning_ratio=ratio, ignored_layers=others(module), round_to=ROUND_TO,
    )  # fmt: skip
    pruner.step()


def prune_fasterai(module: nn.Module, ratio: float, *, side: int) -> None:
    """Magnitude of filters (`large_final`), locally."""
    from fasterai.core.criteria import large_final
    from fasterai.prune.pruner import Pruner

    example = torch.zeros(2, 3, side, side)
    pruner = Pruner(
        module, ratio, "local", large_final, ignored_layers=others(module), example_inputs=example, round_to=ROUND_TO
    )
    pruner.prune_model()


def narrow(module: nn.Module, ratio: float) -> None:
    """Keeps the same part of each expansion, the filters of largest L1 norm; without any package."""
    for block in expansions(module):
        channels = block.conv_pw.out_channels
        left = max(ROUND_TO, round(channels * (1 - ratio) / ROUND_TO) * ROUND_TO)
        order = block.conv_pw.weight.detach().abs().sum(dim=(1, 2, 3)).argsort(descending=True)
        kept = order[:left].sort().values
        for layer in (block.conv_pw, block.conv_dw):
            layer.weight = nn.Parameter(layer.weight.detach()[kept].clone())
            layer.out_channels = len(kept)
        block.conv_dw.in_channels = block.conv_dw.groups = block.conv_pwl.in_channels = len(kept)
        block.conv_pwl.weight = nn.Parameter(block.conv_pwl.weight.detach()[:, kept].clone())
        for norm in (block.bn1, block.bn2):
            norm.num_features = len(kept)
            norm.weight = nn.Parameter(norm.weight.detach()[kept].clone())
            norm.bias = nn.Parameter(norm.bias.detach()[kept].clone())
            norm.running_mean, norm.running_var = norm.running_mean[kept], norm.running_var[kept]


def pruned_to(module: nn.Module, keep: float, prune: Prune, images: Images) -> nn.Module:
    """A copy with at most this part of the MACs: the least ratio, found by bisection."""
    inputs = graph_of(module, images.side, images.classes).inputs
    target = keep * count_macs(module, inputs)
    low, high, found = 0.0, MOST_PRUNED, None
    for _ in range(5):
        ratio = (low + high) / 2
        tried = copy.deepcopy(module)
        for mine, original in zip(tried.parameters(), module.parameters(), strict=True):
            mine.grad = None if original.grad is None else original.grad.clone()
        prune(tried, ratio)
        if count_macs(tried, inputs) <= target:
            high, found = ratio, tried
        else:
            low = ratio
    assert found is not None, f"{MOST_PRUNED:.0%} of the channels are not enough for {keep:.0%} of the MACs"
    found.zero_grad(set_to_none=True)
    return found


def set_gradients(module: nn.Module, images: Images) -> None:
    module.eval().zero_grad()
    for number, (pictures, labels) in enumerate(images.batches("train")):
        if number < TAYLOR_BATCHES:
            cross_entropy(module(torch.from_numpy(pictures)), torch.from_numpy(labels)).backward()


def calibration(images: Images, size: int = 1) -> Iterable[np.ndarray]:
    pictures = (batch for batch, _ in images.batches("train", size))
    return [batch for _, batch in zip(range(CALIBRATION_IMAGES // size), pictures, strict=False)]


def int8_onnxruntime(source: Path, target: Path, images: Images) -> Predict:
    """Static, uint8 activations and int8 weights per channel: of the combinations the one that fuses."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        batches = iter(calibration(images, 32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared))
    quantize_static(
        str(prepared), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepared.unlink()
    return predict_onnxruntime(target)


def int8_nncf(source: Path, target: Path, images: Images) -> Predict:
    import nncf
    import onnx

    dataset = nncf.Dataset(calibration(images), lambda batch: {"images": batch})
    onnx.save(nncf.quantize(onnx.load(source), dataset, subset_size=CALIBRATION_IMAGES), target)
    return predict_onnxruntime(target)


def int8_openvino(source: Path, target: Path, images: Images) -> Predict:
    import nncf
    import openvino

    dataset = nncf.Dataset(calibration(images))
    openvino.save_model(nncf.quantize(openvino.convert_model(source), dataset, subset_size=CALIBRATION_IMAGES), target)
    return predict_openvino(target)


def predict_onnxruntime(path: Path) -> Predict:
    session = open_session(path, threads=1)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def predict_openvino(path: Path, batch: int | None = None) -> Predict:
    """Compiled for one thread; for one batch size where it is given, as a server would."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if batch is not None:
        model.reshape([batch, *list(model.input(0).partial_shape)[1:]])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda pictures: next(iter(request.infer([pictures]).values()))


PRUNERS: dict[str, Callable[[int], Prune]] = {
    "torch-pruning": lambda side: partial(prune_torch_pruning, side=side),
    "fasterai": lambda side: partial(prune_fasterai, side=side),
    "narrow": lambda side: narrow,
}
QUANTIZERS = {
    "onnxruntime": (int8_onnxruntime, ".onnx"),
    "nncf": (int8_nncf, ".onnx"),
    "openvino": (int8_openvino, ".xml"),
}


def right_of(predict: Predict, images: Images, split: str) -> float:
    found = sum(int((predict(batch).argmax(1) == labels).sum()) for batch, labels in images.batches(split, 32))
    return found / len(images.splits[split][1])


def make_start(job: dict[str, Any], images: Images) -> dict[str, Any]:
    """The network that every method starts from, and the baseline: the same, trained on as long as the methods are."""
    from components.core.models.catalog import load_catalog
    from components.core.models.weights import read_weights

    torch.manual_seed(job["seed"])
    module = network(images.classes)
    # The file's tensors are in the order of timm's; the last two are the classifier of ImageNet.
    named = dict(zip(module.state_dict(), read_weights(load_catalog()["efficientnet_lite0"]).values(), strict=True))
    state = {name: tensor for name, tensor in named.items() if not name.startswith("classifier.")}
    start = train(network(images.classes, state), images, seconds=job["seconds"], seed=job["seed"])
    torch.save(start.module.state_dict(), job["start"])
    began = time.process_time()
    accuracy(start.module, images, "validation")
    answer_s = (time.process_time() - began) / len(images.splits["validation"][1])
    on = train(copy.deepcopy(start.module), images, seconds=job["seconds"], seed=job["seed"] + 1)
    target = Path(job["target"] + ".onnx")
    export_onnx(graph_of(on.module, images.side, images.classes), target)
    rows = len(images.splits["train"][1])
    return {
        "file": target.name, "runtime": "onnxruntime", "validation": on.validation, "training_s": on.seconds,
        "test": right_of(predict_onnxruntime(target), images, "test"), "answer_epoch_s": answer_s * rows,
        "epoch_s": start.seconds / start.steps * rows / BATCH_SIZE,
    }  # fmt: skip


def make_student(job: dict[str, Any], images: Images) -> dict[str, Any]:
    """Prune, recalibrate, distil, export, quantize; the test split is read once, at the end."""
    torch.manual_seed(job["seed"])
    teacher = network(images.classes, torch.load(job["start"], weights_only=True)).eval()
    target = Path(job["target"])
    began = time.process_time()
    if job["pruner"] == "torch-pruning":
        set_gradients(teacher, images)
    student = pruned_to(teacher, job["keep"], PRUNERS[job["pruner"]](images.side), images)
    recalibrate(student, images)
    before, pruning_s = accuracy(student, images, "validation"), time.process_time() - began
    taught = train(student, images, seconds=job["seconds"], seed=job["seed"] + 1, teacher=teacher)
    plain = target.with_suffix(".float.onnx")
    export_onnx(graph_of(taught.module, images.side, images.classes), plain)
    quantize, suffix = QUANTIZERS[job["quantizer"]]
    made = target.with_name(target.name + suffix)
    predict = quantize(plain, made, images)
    return {
        "file": made.name, "runtime": "openvino" if suffix == ".xml" else "onnxruntime", "pruning_s": pruning_s,
        "validation_pruned": before, "validation_float": taught.validation, "training_s": taught.seconds,
        "validation": right_of(predict, images, "validation"), "test": right_of(predict, images, "test"),
    }  # fmt: skip


def measure_all(job: dict[str, Any], images: Images) -> dict[str, Any]:
    """Speed of each file relative to the first, each warm and alone in alternating blocks, by batch size."""
    found: dict[str, Any] = {}
    for batch in job["batches"]:
        pictures = next(iter(images.batches("train", batch)))[0]
        calls = {}
        for name, (file, runtime) in job["files"].items():
            openers = {"openvino": partial(predict_openvino, batch=batch), "onnxruntime": predict_onnxruntime}
            side = 0 if runtime == "openvino" else open_session(Path(file)).get_inputs()[0].shape[-1]
            feed = pictures if side in (0, images.side) else np.ascontiguousarray(pictures[:, :, :side, :side])
            calls[name] = partial(openers[runtime](Path(file)), feed)
        timed = measure_calls(calls, threads=1, batch=batch, rounds=job["rounds"])
        found[str(batch)] = {
            "ms": {name: one.p50_ms for name, one in timed.latencies.items()},
            "ratios": {name: [one.value, one.low, one.high] for name, one in timed.ratios.items()},
            "busy": f"{timed.busy_blocks} of {timed.blocks}",
        }
    return found


TASKS = {"start": make_start, "student": make_student, "measure": measure_all}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    answer = TASKS[job["task"]](job, Images.read(Path(job["images"])))
    answer["all_s"] = time.process_time()
    Path(job["answer"]).write_text(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
