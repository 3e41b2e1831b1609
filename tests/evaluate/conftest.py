"""Images of one colour, and ONNX files written by hand that name it: accuracies are known before anything runs."""

import importlib
import io
import sys
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from kfp import dsl
from onnx import TensorProto, helper, numpy_helper
from own_environment import own_environment
from PIL import Image

from components.core.bundles.onnx_bundle import OnnxBundle, save_onnx
from components.core.data.dataset import open_dataset, write_dataset
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.evaluate.bundles import Opened

CLASSES = ["red", "green", "blue"]
OPENVINO = "2026.4.1"


def picture(label: int, number: int) -> bytes:
    pixels = np.full((8, 8, 3), 40, np.uint8)
    pixels[:, :, label] = 200
    pixels[0, 0] = number % 251, number // 251, 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def rows(split: str, count: int, mislabelled: int) -> list[dict[str, Any]]:
    """`count` images; the label of the first `mislabelled` is the next colour."""
    made = []
    for number in range(count):
        image = picture(number % 3, number + 1000 * len(split))
        label = (number + (number < mislabelled)) % 3
        made.append({"image": image, "label": label, "digest": sha256(image).hexdigest(), "source": f"{number}"})
    return sorted(made, key=lambda row: row["digest"])


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def dataset_path(tmp_path, store) -> Path:
    """60 validation images of which 6 carry the wrong label, no test images."""
    splits = {"train": rows("train", 6, 0), "validation": rows("validation", 60, 6)}
    write_dataset(tmp_path / "data", rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)
    return tmp_path / "data"


@pytest.fixture
def dataset(dataset_path, store):
    return open_dataset(dataset_path, store)


@pytest.fixture
def write_test_split(tmp_path, store) -> Callable[..., Any]:
    """A data set of up to 60 test images: those whose digests are in `known`, with further `files`."""

    def write(name: str, *, known: Collection[str] | None = None, files: dict[str, bytes] | None = None) -> Any:
        kept = [row for row in rows("test", 60, 0) if known is None or row["digest"] in known]
        write_dataset(
            tmp_path / name, rows=get_task("classification").rows, classes=CLASSES, splits={"test": kept},
            extra_files=files, store=store,
        )  # fmt: skip
        return open_dataset(tmp_path / name, store)

    return write


@pytest.fixture
def make_bundle(tmp_path) -> Callable[..., OnnxBundle]:
    """An ONNX file whose logits are the mean of each channel, of blue times `blue`; with `blind` it is never seen."""

    def make(
        name: str, *, image_size: int = 8, blind: bool = False, blue: float = 1.0, labels: list[str] = CLASSES
    ) -> OnnxBundle:
        shape = ["batch", 3, image_size, image_size]
        weights = np.array([1, 1, -1 if blind else blue], np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
                helper.make_node("Mul", ["means", "weights"], ["logits"]),
            ],
            "main",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            [
                numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
                numpy_helper.from_array(weights, "weights"),
            ],
        )
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        return OnnxBundle(
            graphs={"model": path},
            assets=ImageAssets(
                preprocess=Preprocess(image_size=image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
                labels=list(labels),
            ),
            provenance={
                "task": "classification",
                "scheme": "float32",
                "complexity": {"parameters": 3, "macs": 3},
            },
        )

    return make


@pytest.fixture
def opened(make_bundle) -> Callable[..., Opened]:
    """A bundle as the stage opens it."""

    def open_bundle(name: str, **changes: Any) -> Opened:
        return Opened(bundle=make_bundle(name, **changes), digest=sha256(name.encode()).hexdigest())

    return open_bundle


@pytest.fixture
def publish(tmp_path, store) -> Callable[[OnnxBundle, str], Path]:
    def save(bundle: OnnxBundle, name: str) -> Path:
        save_onnx(tmp_path / name, bundle, store)
        return tmp_path / name

    return save


@pytest.fixture
def run_evaluate(tmp_path) -> Callable[..., dict[str, Any]]:
    """Runs the component's function as KFP's executor would; gives its outputs by name."""

    def run(inputs: dict[str, Path], **parameters: Any) -> dict[str, Any]:
        from components.evaluate.component import evaluate

        types = {"metrics": dsl.Metrics, "visualization": dsl.ClassificationMetrics, "page": dsl.HTML}
        given = {name: dsl.Artifact(uri=str(path)) for name, path in inputs.items()}
        folder = tmp_path / "outputs"
        folder.mkdir(exist_ok=True)
        outputs = {
            name: types.get(name, dsl.Artifact)(uri=str(folder / name))
            for name in ("evaluation", "metrics", "visualization", "page")
        }
        evaluate.python_func(**given, **outputs, **parameters)
        return outputs

    return run


@pytest.fixture(scope="session")
def openvino_packages() -> Path:
    """The folder with OpenVINO's packages, its usage reports among them, beside which trimtab's own are used.

    If it were installed with trimtab, every run of the suite would measure a second runtime.
    """
    try:
        packages = [f"openvino=={OPENVINO}", "openvino-telemetry==2025.2.0"]
        environment = own_environment("openvino", [], alone=packages)
    except RuntimeError as error:
        pytest.fail(f"{error}\ndeselect with -m 'not openvino'")
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


@pytest.fixture
def openvino(openvino_packages: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The version of OpenVINO, which is found while the test runs, and not afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(openvino_packages)])
    importlib.invalidate_caches()
    return OPENVINO
