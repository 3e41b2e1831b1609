"""Quantized, evaluated and released by the real stages: networks that take images in windows, and whole."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kfp import dsl
from PIL import Image

from components.core.artifacts.manifest import publish
from components.core.budget import Budget
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.bundles.onnx_bundle import save_onnx
from components.core.data.dataset import open_dataset, write_dataset
from components.core.evaluation.document import encode_evaluation
from components.core.models.architecture import Architecture
from components.core.runtime.conversion import float32_of
from components.core.runtime.sessions import open_session
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import fresh_network
from components.core.tasks.segmentation.assets import SegmentationAssets
from components.core.tasks.segmentation.inference import Inference, starts
from components.core.tasks.segmentation.masks import default_palette, encode
from components.evaluate.bundles import Opened
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.export.component import export
from components.quantize.calibration import QuantizeConfig
from components.quantize.quantization import convert

SIDE, CLASSES = 32, ["background", "red", "green"]
SIZES = [(70, 40), (20, 30), (32, 64), (90, 33), (48, 48)]
"""Width and height of the test images."""


def row(number: int, size: tuple[int, int]) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 :, : width // 2] = 1
    mask[: height // 2, width // 2 :] = 2
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels[mask == 1, 0] += 180
    pixels[mask == 2, 1] += 180
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    image = buffer.getvalue()
    digest = hashlib.sha256(image).hexdigest()
    return {"image": image, "mask": encode(mask), "digest": digest, "source": str(number)}


@pytest.fixture(params=["sliding", "whole"])
def released(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Store, str, ModelBundle]:
    """The mode, the store, the version of the release "scenes", and the network that it was made of."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    store, task = open_store(str(tmp_path / "store")), get_task("segmentation")
    rows = {
        split: sorted(
            (row(first + number, SIZES[number % 5]) for number in range(count)), key=lambda one: one["digest"]
        )
        for split, first, count in (("train", 0, 20), ("test", 100, 10))
    }
    write_dataset(tmp_path / "data", rows=task.rows, classes=CLASSES, splits=rows, store=store)
    dataset = open_dataset(tmp_path / "data", store)
    model = network(request.param)
    manifest = save_model(tmp_path / "model", model, store, {})
    plain = float32_of(manifest, store)
    (tmp_path / "int8").mkdir()
    config = QuantizeConfig(scheme="int8", method="minmax", images=12, seed=0)
    int8 = convert(plain, dataset, config, tmp_path / "int8", threads=1)
    candidate, baseline = save_onnx(tmp_path / "candidate", int8, store), save_onnx(tmp_path / "baseline", plain, store)
    measured = evaluate_pair(
        dataset,
        Opened(bundle=int8, digest=candidate.digest),
        Opened(bundle=plain, digest=baseline.digest),
        EvaluateConfig(split="test", threads=1, latency_rounds=2, budget=Budget()),
    )
    decision = {"recipes": [], "chosen": 0, "meets_budget": True, "reason": "The only one."}
    for name, content in (("evaluation", encode_evaluation(measured)), ("decision", json.dumps(decision).encode())):
        publish(tmp_path / name, kind=name, files={f"{name}.json": content}, metadata={}, store=store)
    names = {**{name: name for name in ("candidate", "model", "baseline", "evaluation", "decision")}, "dataset": "data"}
    outputs = {"release": dsl.Model(uri=str(tmp_path / "release")), "card": dsl.Markdown(uri=str(tmp_path / "card.md"))}
    given = {name: dsl.Artifact(uri=str(tmp_path / folder)) for name, folder in names.items()}
    export.python_func(**given, **outputs, name="scenes")
    return request.param, store, outputs["release"].metadata["version"], model


def network(mode: str) -> ModelBundle:
    """A small network with random weights, whose batch norms have seen images as large as the client's.

    At SIDE the deepest map is a single pixel, whose statistics fit no larger image. With ReLU only: activations in
    float would round otherwise in a batch, and random weights make much of that.
    """
    architecture = Architecture(
        backbone="small",
        source="timm:tf_mobilenetv3_small_minimal_100",
        num_outputs=3,
        task="segmentation",
        options={"head": "lraspp", "width": 16},
    )
    assets = SegmentationAssets(
        preprocess=Preprocess(image_size=SIDE, mean=(0.4, 0.4, 0.2), std=(0.3, 0.3, 0.2), resize="fit"),
        labels=CLASSES, palette=default_palette(3), inference=Inference.of(mode, SIDE),
    )  # fmt: skip
    module = fresh_network(architecture, seed=0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    pictures = [np.asarray(Image.open(io.BytesIO(row(number, (128, 96))["image"]))) for number in range(10)]
    values = (np.stack(pictures) / 255 - np.array(assets.preprocess.mean)) / np.array(assets.preprocess.std)
    with torch.no_grad():
        module.train()(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32)))
        for name in get_task("segmentation").output_layers(module):
            module.get_submodule(name).weight *= 100
    return ModelBundle(module=module.eval(), architecture=architecture, assets=assets)


def test_a_release_says_how_it_takes_images_and_its_client_gives_masks_of_their_size(released, tmp_path: Path) -> None:
    mode, store, version, model = released
    files = set(store.releases.files("scenes", version))
    assert {"model.onnx", "inference.json", "labels.json", "palette.json", "card.md"} <= files
    card = store.releases.read("scenes", version, "card.md").decode()
    provenance = json.loads(store.releases.read("scenes", version, "provenance.json"))
    evaluation = json.loads(store.releases.read("scenes", version, "evaluation.json"))
    assert provenance["verification"]["samples_repeated"] == 10
    windows = [len(starts(width, SIDE, 21)) * len(starts(height, SIDE, 21)) for width, height in SIZES]
    expected = {"sliding": np.mean(windows), "whole": 1}[mode]
    assert evaluation["candidate"]["details"]["calls_per_image"] == expected
    if mode == "whole":
        assert "at batch 1 and 3, 32 × 32 and 64 × 96 (largest" in card
        assert provenance["graphs"]["model"]["multiples"] == {"height": 32, "width": 32}
    else:
        assert f"took {expected:g} on average" in card
        assert "sizes" not in provenance["verification"]["parity"]

    width, height = 123, 77
    picture = row(7, (width, height))["image"]
    (tmp_path / "image.jpg").write_bytes(picture)
    (tmp_path / "model.onnx").write_bytes(store.releases.read("scenes", version, "model.onnx"))
    program = card.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.asarray(Image.open(tmp_path / "mask.png"))
    assert found.shape == (height, width, 3)
    colours = np.array(model.assets.palette, np.uint8)
    np.testing.assert_array_equal(found, colours[mask_of(model, picture, open_session(tmp_path / "model.onnx"))])
    # The quantized network against torch's own, at the image's size.
    assert (found == colours[mask_of(model, picture, Torch(model))]).all(axis=2).mean() > 0.85


class Torch:
    """The network in float32, called as a session is."""

    def __init__(self, model: ModelBundle) -> None:
        self.module = model.module

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [self.module(torch.from_numpy(feed["images"])).numpy()]


def mask_of(model: ModelBundle, picture: bytes, session: Any) -> np.ndarray:
    """As an evaluation finds it: uint8 `(H, W)`."""
    task = get_task("segmentation")
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    transform = task.transform(model.assets, full_size=True)
    example = transform.decode({"image": picture, "mask": encode(np.zeros(pixels.shape[:2], np.uint8))})
    batch = transform.collate([example], ["d"], None)
    return task.predict(task.run({"model": session}, batch, model.assets), batch, model.assets)[0]
