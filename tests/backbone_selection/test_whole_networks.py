"""Entries of the catalog with whole pretrained weights, beside those of a classification network."""

import hashlib
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from components.backbone_selection.limits import Limits
from components.backbone_selection.page import write_ranking_page
from components.backbone_selection.selection import SelectionConfig, select
from components.core.bundles.model_bundle import load_model, save_model
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks import get_task
from components.core.tasks.segmentation.networks import build

COMMON = {"licence": "MIT", "image_size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture
def scenes(tmp_path: Path, store: Store) -> Dataset:
    """Twenty rows of the demo."""
    rows = get_task("segmentation").rows
    (tmp_path / "scratch").mkdir()
    source = rows.open_source("demo", tmp_path / "scratch")
    inspected = [rows.inspect(item, max_bytes=10**7) for item in islice(source.items(), 20)]
    classes = rows.order_classes({name: 1 for one in inspected for name in one.classes}, source.classes, "demo")
    numbers = {name: number for number, name in enumerate(classes)}
    stored = [rows.finished({**one.row, "source": one.name}, numbers) for one in inspected]
    splits = {"train": stored[:16], "validation": stored[16:18], "test": stored[18:]}
    write_dataset(tmp_path / "scenes", rows=rows, classes=classes, splits=splits, store=store)
    return open_dataset(tmp_path / "scenes", store)


def config(tmp_path: Path, backbones: str, **entries: dict[str, object]) -> SelectionConfig:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"backbones": {name: {**COMMON, **entry} for name, entry in entries.items()}}))
    limits = Limits(max_parameters_m=-1, max_macs_m=-1, max_latency_ms=-1)
    return SelectionConfig(
        backbones=backbones, catalog=str(path), image_size=32, max_images=16, seed=0, limits=limits, settings={}
    )


def test_they_are_ranked_like_the_others_and_start_from_the_whole_network(
    tmp_path: Path, store: Store, scenes: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    own = build("timm:lcnet_050", len(scenes.classes), head="lraspp", seed=5)
    # As in a store, where an object has no suffix.
    blob = tmp_path / "blob"
    save_file({name: tensor.contiguous() for name, tensor in own.state_dict().items()}, blob)
    whole = {
        "task": "segmentation", "architecture": "timm:lcnet_050", "options": {"head": "lraspp"}, "weights": "file:blob",
        "sha256": hashlib.sha256(blob.read_bytes()).hexdigest(), "classes": list(scenes.classes),
    }  # fmt: skip
    plain = {"architecture": "timm:lcnet_100", "weights": "none"}
    selection = select(scenes, config(tmp_path, "whole,plain", whole=whole, plain=plain))
    rows = {candidate.name: candidate for candidate in selection.ranking.candidates}
    assert {name: row.static_rank for name, row in rows.items()} == {"plain+lraspp": 1, "whole+lraspp": 2}
    assert sorted(row.transfer_rank or 0 for row in rows.values()) == [1, 2]
    said = f"whole network, with its classifier of the same {len(scenes.classes)} classes"
    assert {name: row.pretrained for name, row in rows.items()} == {"plain+lraspp": None, "whole+lraspp": said}
    assert f"whole+lraspp: pretrained {said}" in capsys.readouterr().out
    write_ranking_page(tmp_path / "page.html", selection)
    assert f"pretrained: {said}" in (tmp_path / "page.html").read_text()

    chosen = select(scenes, config(tmp_path, "whole", whole=whole)).bundle
    assert all(torch.equal(tensor, chosen.module.state_dict()[name]) for name, tensor in own.state_dict().items())
    save_model(tmp_path / "model", chosen, store, {})
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "model", store).module(images), own.eval()(images))


def test_a_published_network_comes_back_from_its_bundle(tmp_path: Path, store: Store, scenes: Dataset) -> None:
    entry = {"task": "segmentation", "architecture": "torchvision:lraspp_mobilenet_v3_large", "weights": "none"}
    bundle = select(scenes, config(tmp_path, "ours", ours=entry)).bundle
    save_model(tmp_path / "model", bundle, store, {})
    loaded = load_model(tmp_path / "model", store)
    assert loaded.architecture.options == {"head": "lraspp"}
    images = torch.randn(1, 3, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images), bundle.module(images), rtol=1e-3, atol=1e-8)


def test_an_entry_for_another_task_is_refused(tmp_path: Path, dataset_path: Path, store: Store) -> None:
    with pytest.raises(
        UserError, match=r"weights of a whole network for 'segmentation', but this run is 'classification'"
    ):
        select(open_dataset(dataset_path, store), config(tmp_path, "fcn_resnet50"))
