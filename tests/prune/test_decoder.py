"""Of a segmentation network the decoder's channels are pruned as the backbone's are."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from components.core.bundles.model_bundle import ModelBundle, load_model
from components.core.data.dataset import open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone
from components.core.tasks import get_task
from components.core.tasks.networks import fresh_network
from components.core.tasks.segmentation.masks import encode
from components.core.tasks.segmentation.parameters import HEADS
from components.prune.config import PruneConfig
from components.prune.pruning import prune_bundle

SIDE, CLASSES, SOURCE = 64, ["background", "cup", "shoe"], "timm:test_efficientnet"
TASK = get_task("segmentation")


@pytest.fixture
def scenes(tmp_path, store):
    """16 + 4 images of noise; the left half of each is a cup."""
    rng = np.random.default_rng(0)

    def row(number):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(buffer, "PNG")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, : SIDE // 2] = 1
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        return {"image": buffer.getvalue(), "mask": encode(mask), "digest": digest, "source": str(number)}

    rows = sorted((row(number) for number in range(20)), key=lambda one: one["digest"])
    splits = {"train": rows[:16], "validation": rows[16:]}
    write_dataset(tmp_path / "scenes", rows=TASK.rows, classes=CLASSES, splits=splits, store=store)
    return open_dataset(tmp_path / "scenes", store)


def widths(module):
    return {name: part.out_channels for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}


@pytest.mark.parametrize("head", HEADS)
def test_channels_of_backbone_and_decoder_go_and_the_network_reloads(scenes, store, save_bundle, head):
    backbone = Backbone(
        name="small", architecture=SOURCE, weights="none", image_size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3, licence=""
    )
    architecture = Architecture(
        backbone="small", source=SOURCE, num_outputs=len(CLASSES), task=TASK.name, options={"head": head, "width": 32}
    )
    module = fresh_network(architecture, seed=0).eval()
    bundle = ModelBundle(module=module, architecture=architecture, assets=TASK.assets(backbone, scenes, SIDE))
    config = PruneConfig(macs_fraction=0.2, importance="magnitude", round_to=4, calibration_images=8, seed=0)
    pruned = prune_bundle(bundle, scenes, config, report=lambda _: None).bundle
    before, after = widths(module), widths(pruned.module)
    assert {name.partition(".")[0] for name in after if after[name] < before[name]} == {"backbone", "head"}
    reloaded = load_model(save_bundle(pruned), store).module
    assert widths(reloaded) == after
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = reloaded(images)
        torch.testing.assert_close(logits, pruned.module(images))
    assert logits.shape == (2, len(CLASSES), SIDE, SIDE)
