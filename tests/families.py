"""A network's way from selection to release, with random weights and little data.

`python tests/families.py` writes the table of the families into the card of `prune`.
"""

import hashlib
import io
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.bundles.onnx_bundle import load_onnx, save_onnx
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone
from components.core.pruning.trial import check_network
from components.core.runtime.conversion import float32_bundle
from components.core.runtime.sessions import open_session
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.networks import fresh_network
from components.prune.config import PruneConfig
from components.prune.pruning import prune_bundle
from components.quantize.calibration import QuantizeConfig
from components.quantize.quantization import convert

TASK = get_task("classification")
CLASSES = ["a", "b", "c"]
CARD = Path(__file__).parents[1] / "components" / "prune" / "README.md"
BEGIN, END = "<!-- families -->\n", "<!-- end of families -->\n"
TARGET = 0.8


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set of noise, and the store that it is in."""

    dataset: Dataset
    store: Store
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one network: why it is not pruned (empty: it is), the fraction of the MACs that is left, operators that run as
    integers and all, the same of convolutions, and how near int8 comes to float32 in the release."""

    refusal: str
    macs_fraction: float
    operators: tuple[int, int]
    convolutions: tuple[int, int]
    float_convolutions: int
    signal_to_noise_db: float
    exporter: str


def make_world(folder: Path) -> World:
    """36 + 12 + 12 images of noise, 32 pixels a side."""
    rng = np.random.default_rng(0)

    def row(number: int) -> dict[str, object]:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
        image = buffer.getvalue()
        return {"image": image, "label": number % 3, "digest": hashlib.sha256(image).hexdigest(), "source": str(number)}

    rows = [row(number) for number in range(60)]
    store = open_store(str(folder / "store"))
    splits = {"train": rows[:36], "validation": rows[36:48], "test": rows[48:]}
    write_dataset(folder / "data", rows=TASK.rows, classes=CLASSES, splits=splits, store=store)
    return World(dataset=open_dataset(folder / "data", store), store=store, folder=folder)


def take_through(source: str, size: int, world: World, *, round_to: int = 8) -> Outcome:
    """Selected, tried, pruned where it can be, saved and reloaded, exported, quantized, and run in onnxruntime.

    Raises:
        UserError: it cannot take images of this size.
        AssertionError: the reloaded network or the ONNX file computes something else.
    """
    backbone = Backbone(
        name=source, architecture=source, weights="none", image_size=size, mean=(0.5,) * 3, std=(0.5,) * 3, licence=""
    )
    architecture = Architecture(backbone=source, source=source, num_outputs=len(CLASSES), task=TASK.name)
    module = fresh_network(architecture, seed=0).eval()
    bundle = ModelBundle(module=module, architecture=architecture, assets=TASK.assets(backbone, world.dataset, size))
    tried = {"called": source, "output_layers": TASK.output_layers(module)}
    check_network(module, bundle.inputs, **tried, prunes=False)
    refusal, fraction = "", TARGET
    try:
        check_network(module, bundle.inputs, **tried, prunes=True, round_to=round_to)
    except UserError as error:
        refusal, fraction = str(error), 1.0
    config = PruneConfig(macs_fraction=fraction, importance="taylor", round_to=round_to, calibration_images=32, seed=0)
    pruned = prune_bundle(bundle, world.dataset, config, report=lambda _: None)

    folder = Path(tempfile.mkdtemp(dir=world.folder))
    manifest = save_model(folder / "model", pruned.bundle, world.store, {})
    reloaded = load_model(manifest, world.store)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = pruned.bundle.module(images)
        torch.testing.assert_close(reloaded.module(images), expected)
    plain = float32_bundle(reloaded, folder, source_digest=manifest.digest)
    (folder / "int8").mkdir()
    how = QuantizeConfig(scheme="int8", method="percentile", images=16, seed=0)
    quantized = convert(plain, world.dataset, how, folder / "int8", threads=1)
    released = load_onnx(save_onnx(folder / "onnx", quantized, world.store), world.store)
    found = open_session(released.graphs["model"]).run(None, {"images": images.numpy()})[0]
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    fused = released.provenance["fused"]
    return Outcome(
        refusal=refusal,
        macs_fraction=pruned.macs_fraction,
        operators=(fused["operators"], fused["operators_total"]),
        convolutions=(fused["convolutions"], fused["convolutions_total"]),
        float_convolutions=released.provenance["calibration"]["float_convolutions"],
        signal_to_noise_db=released.provenance["agreement"]["signal_to_noise_db"],
        exporter=released.provenance["exporter"],
    )


def table(outcomes: dict[str, Outcome]) -> str:
    """Markdown: a line for each family."""
    lines = ["| family | pruned to 80 % of the MACs | operators that run as integers | int8 against float32 |"]
    lines.append("|---|---|---|---|")
    for family, one in outcomes.items():
        cut = "no: " + one.refusal.partition("(")[2].partition(")")[0] if one.refusal else f"{one.macs_fraction:.0%}"
        share = f"{one.operators[0]} of {one.operators[1]}"
        lines.append(f"| {family} | {cut} | {share} | {one.signal_to_noise_db:.0f} dB |")
    return "\n".join(lines) + "\n"


def write_card() -> None:
    """Puts the table between the marks in the card."""
    from tiny_networks import NETWORKS, SIZE, register

    register()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRIMTAB_CACHE"] = str(Path(folder) / "cache")
        world = make_world(Path(folder))
        outcomes = {}
        for family, source in NETWORKS.items():
            outcomes[family] = take_through(source, SIZE, world)
            print(family, outcomes[family], file=sys.stderr, flush=True)
    before, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
    CARD.write_text(before + BEGIN + table(outcomes) + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write_card()
