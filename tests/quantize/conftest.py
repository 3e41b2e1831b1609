"""Networks whose batch norms hold real statistics, and a data set of noisy stripes to calibrate on."""

import io
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build

CLASSES = ["rows", "columns", "plain"]
SIZE = 32


def stripes(count: int, seed: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        if number % 3 < 2:
            pixels[::4] += 150
        if number % 3 == 1:
            pixels = pixels.swapaxes(0, 1)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
        image = buffer.getvalue()
        yield {"image": image, "label": number % 3, "digest": sha256(image).hexdigest(), "source": str(number)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return open_store(str(tmp_path / "store"))


def write_stripes(path: Path, store: Store, *, validation: int = 0) -> None:
    """96 training images; reading test images is the stage's mistake, so there are none."""
    splits = {
        name: sorted(stripes(count, seed), key=lambda row: row["digest"])
        for name, count, seed in (("train", 96, 1), ("validation", validation, 2))
    }
    write_dataset(path, rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)


@pytest.fixture
def dataset_path(tmp_path: Path, store: Store) -> Path:
    write_stripes(tmp_path / "data", store)
    return tmp_path / "data"


@pytest.fixture
def dataset_with_validation(tmp_path: Path, store: Store) -> Dataset:
    """The same and 60 validation images."""
    write_stripes(tmp_path / "validated", store, validation=60)
    return open_dataset(tmp_path / "validated", store)


@pytest.fixture
def write_labelled_by(store: Store) -> Callable[[ModelBundle, Path], None]:
    """Writes a data set whose labels are what a network says of its rows, but of every third one."""

    def write(model: ModelBundle, path: Path) -> None:
        splits = {}
        for split, count, seed in (("train", 24, 1), ("validation", 60, 2)):
            rows = sorted(stripes(count, seed), key=lambda row: row["digest"])
            with torch.inference_mode():
                seen = np.stack([model.assets.preprocess(row["image"]) for row in rows])
                said = model.module(torch.from_numpy(seen)).argmax(dim=1).tolist()
            for number, row in enumerate(rows):
                row["label"] = (said[number] + (number % 3 == 0)) % len(CLASSES)
            splits[split] = rows
        write_dataset(path, rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)

    return write


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("stripes")
    store = open_store(str(folder / "store"))
    write_stripes(folder / "data", store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
        return open_dataset(folder / "data", store)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelBundle]:
    """An untrained network whose batch norms have seen stripes, so that its activations are of ordinary size."""

    def make(source: str, *, seed: int = 0) -> ModelBundle:
        torch.manual_seed(seed)
        architecture = Architecture(backbone="tiny", source=source, num_outputs=len(CLASSES), task="classification")
        module = build(architecture)
        preprocess = Preprocess(image_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        images = torch.from_numpy(np.stack([preprocess(row["image"]) for row in stripes(24, 9)]))
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                torch.nn.init.normal_(part.bias, std=0.3)
        with torch.no_grad():
            module.train()(images)
        assets = ImageAssets(preprocess=preprocess, labels=list(CLASSES))
        return ModelBundle(module=module.eval(), architecture=architecture, assets=assets)

    return make


@pytest.fixture(scope="session")
def lite0(make_model: Callable[..., ModelBundle]) -> ModelBundle:
    return make_model("timm:tf_efficientnet_lite0")


@pytest.fixture(scope="session")
def toy_graph() -> onnx.ModelProto:
    """images (N, 3, 8, 8) → Conv without bias → ReLU → mean → Gemm, written by hand, with inferred shapes."""
    rng = np.random.default_rng(5)
    constants = {
        "kernel": rng.normal(size=(4, 3, 3, 3)),
        "matrix": rng.normal(size=(2, 4)),
        "offset": rng.normal(size=2),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["rectified"]),
            helper.make_node("ReduceMean", ["rectified", "axes"], ["pooled"], keepdims=0),
            helper.make_node("Gemm", ["pooled", "matrix", "offset"], ["logits"], transB=1),
        ],
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            *(numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)
