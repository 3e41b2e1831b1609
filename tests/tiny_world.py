"""A learnable data set of 32-pixel images and untrained networks, for every stage that trains or changes one."""

import io
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kfp import dsl
from PIL import Image

from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build

CLASSES = ["rows", "columns"]
IMAGE_SIZE = 32


def stripes(count: int, split: str) -> Iterator[dict[str, Any]]:
    """Horizontal blue and vertical red stripes in noise."""
    rng = np.random.default_rng(len(split))
    for number in range(count):
        pixels = rng.integers(0, 120, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        pixels[::4, :, 2 * (number % 2 == 0)] += 120
        if number % 2:
            pixels = pixels.swapaxes(0, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        image = buffer.getvalue()
        yield {"image": image, "label": number % 2, "digest": sha256(image).hexdigest(), "source": f"{split}-{number}"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Equal results need equal threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def make_dataset(tmp_path: Path, store: Store) -> Callable[..., Path]:
    def make(*, train: int = 64, validation: int = 16) -> Path:
        counts = {"train": train, "validation": validation, "test": 4}
        splits = {split: sorted(stripes(n, split), key=lambda row: str(row["digest"])) for split, n in counts.items()}
        path = tmp_path / f"dataset-{train}-{validation}"
        write_dataset(path, rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)
        return path

    return make


@pytest.fixture
def dataset_path(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset()


@pytest.fixture
def dataset(dataset_path: Path, store: Store) -> Dataset:
    return open_dataset(dataset_path, store)


@pytest.fixture
def make_bundle() -> Callable[..., ModelBundle]:
    """An untrained network of any source, in eval mode; its batch norms hold statistics that are not the default."""

    def make(source: str, *, seed: int = 0, image_size: int = IMAGE_SIZE) -> ModelBundle:
        architecture = Architecture(backbone="tiny", source=source, num_outputs=len(CLASSES), task="classification")
        torch.manual_seed(seed)
        module = build(architecture)
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
                torch.nn.init.normal_(norm.bias, std=0.2)
                torch.nn.init.normal_(norm.running_mean, std=0.2)
                torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        preprocess = Preprocess(image_size=image_size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        assets = ImageAssets(preprocess=preprocess, labels=list(CLASSES))
        return ModelBundle(module=module.eval(), architecture=architecture, assets=assets)

    return make


@pytest.fixture
def save_bundle(tmp_path: Path, store: Store) -> Callable[[ModelBundle], Path]:
    """Publishes a bundle and gives its artifact's path."""

    def save(bundle: ModelBundle) -> Path:
        path = tmp_path / f"model-{len(list(tmp_path.glob('model-*')))}"
        save_model(path, bundle, store, {})
        return path

    return save


@pytest.fixture
def run_stage(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a component's function on artifacts at local paths, as KFP's executor would; returns its outputs by name."""

    def run(component: Any, *, inputs: dict[str, Path], run_name: str = "run", **parameters: Any) -> dict[str, Any]:
        folder = tmp_path / run_name
        folder.mkdir()
        types = {kind.schema_title: kind for kind in (dsl.Metrics, dsl.HTML, dsl.ClassificationMetrics)}
        given = {name: dsl.Artifact(uri=str(path)) for name, path in inputs.items()}
        outputs = {
            name: types.get(output.type.split("@")[0], dsl.Artifact)(uri=str(folder / name))
            for name, output in (component.component_spec.outputs or {}).items()
            if output.type.startswith("system.")
        }
        component.python_func(**given, **outputs, **parameters)
        return outputs

    return run
