"""A small trained-looking network, quantized and evaluated by the real stages, ready to be released."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
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
from components.core.evaluation.document import Evaluation, encode_evaluation
from components.core.models.architecture import Architecture
from components.core.runtime.conversion import float32_of
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.evaluate.bundles import Opened
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.quantize.calibration import QuantizeConfig
from components.quantize.quantization import convert

# Names that would be markup if they were not escaped.
CLASSES = ["a|b", "<script>c", "d_e*"]
SIZE = 32
TAUGHT = "7a" * 32
"""The data set that the network says it learnt from: one that a teacher has rewritten."""
DECISION = {"recipes": [{"recipe": {"macs_fraction": 0.7}}], "chosen": 0, "meets_budget": True, "reason": "It is best."}


def rows(split: str, count: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(len(split))
    for number in range(count):
        pixels = rng.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        pixels[:, :, number % 3] += 150
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="WEBP", lossless=True)
        image = buffer.getvalue()
        yield {"image": image, "label": number % 3, "digest": sha256(image).hexdigest(), "source": str(number)}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Paths of the artifacts that export takes, by input name, and the store that holds their bytes."""

    inputs: dict[str, Path]
    store: Store
    folder: Path

    evaluation: Evaluation


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    store = open_store(str(folder / "store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
        splits = {
            split: sorted(rows(split, count), key=lambda row: row["digest"])
            for split, count in {"train": 60, "test": 45}.items()
        }
        write_dataset(
            folder / "data", rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store
        )
        dataset = open_dataset(folder / "data", store)
        model = network()
        source = save_model(folder / "model", model, store, {"dataset": TAUGHT})
        config = QuantizeConfig(scheme="int8", method="minmax", images=20, seed=0)
        plain = float32_of(source, store)
        (folder / "converted").mkdir()
        int8 = convert(plain, dataset, config, folder / "converted", threads=1)
        candidate = save_onnx(folder / "candidate", int8, store, {})
        baseline = save_onnx(folder / "baseline", plain, store, {})
        settings = EvaluateConfig(
            split="test", threads=1, latency_rounds=3, budget=Budget(max_size_mb=0.001, max_drop=50)
        )
        evaluation = evaluate_pair(
            dataset,
            Opened(bundle=int8, digest=candidate.digest),
            Opened(bundle=plain, digest=baseline.digest),
            settings,
        )
        publish_evaluation(folder / "evaluation", evaluation, store)
        content = {"decision.json": json.dumps(DECISION).encode()}
        publish(folder / "decision", kind="decision", files=content, metadata={}, store=store)
    names = ("candidate", "model", "baseline", "evaluation", "decision")
    inputs = {**{name: folder / name for name in names}, "dataset": folder / "data"}
    return Chain(inputs=inputs, store=store, folder=folder, evaluation=evaluation)


def publish_evaluation(path: Path, evaluation: Evaluation, store: Store) -> Path:
    files = {"evaluation.json": encode_evaluation(evaluation)}
    publish(path, kind="evaluation", files=files, metadata={}, store=store)
    return path


def network() -> ModelBundle:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="efficientnet_lite0", source="timm:test_resnet", num_outputs=len(CLASSES), task="classification"
    )
    preprocess = Preprocess(image_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assets = ImageAssets(preprocess=preprocess, labels=list(CLASSES))
    module = build(architecture)
    images = torch.from_numpy(np.stack([preprocess(row["image"]) for row in rows("batch", 24)]))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()(images)
    return ModelBundle(module=module.eval(), architecture=architecture, assets=assets)


@pytest.fixture
def run_export(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the component on the chain's artifacts, some of them replaced, into a store."""

    def run(*, store: Store | None = None, name: str = "garments", **replaced: Path) -> dict[str, Any]:
        from components.export.component import export

        monkeypatch.setenv("TRIMTAB_CACHE", str(chain.folder / "cache"))
        monkeypatch.setenv("TRIMTAB_STORE", (store or chain.store).uri)
        given = {key: dsl.Artifact(uri=str(path)) for key, path in {**chain.inputs, **replaced}.items()}
        outputs = {
            "release": dsl.Model(uri=str(tmp_path / "release")),
            "card": dsl.Markdown(uri=str(tmp_path / "card.md")),
        }
        export.python_func(**given, **outputs, name=name)
        return outputs

    return run
