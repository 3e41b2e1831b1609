import json
from pathlib import Path

import pytest
import torch
from kfp.dsl import HTML, Artifact, Dataset, Metrics, Model
from tiny_networks import register

from components.backbone_selection.component import backbone_selection
from components.core.artifacts.manifest import read_file, read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.data.dataset import open_dataset, write_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks import get_task

ENTRY = "weights: none\n    licence: MIT\n    image_size: 32\n    mean: [0.5, 0.5, 0.5]\n    std: [0.5, 0.5, 0.5]\n    "


def run(tmp_path: Path, dataset_path: Path, **parameters: object) -> tuple[Model, Artifact, Metrics, HTML]:
    outputs = (
        Model(uri=str(tmp_path / "model")),
        Artifact(uri=str(tmp_path / "ranking")),
        Metrics(uri=str(tmp_path / "metrics")),
        HTML(uri=str(tmp_path / "page.html")),
    )
    # Each backbone at its own size, unless a test says another.
    backbone_selection.python_func(Dataset(uri=str(dataset_path)), *outputs, **({"image_size": 0} | parameters))
    return outputs


def test_stage_chooses_and_delivers_a_network_ready_to_train(
    tmp_path: Path, store: Store, dataset_path: Path, catalog_path: Path
) -> None:
    model, ranking, metrics, page = run(
        tmp_path, dataset_path, backbones=["small", "large"], catalog=str(catalog_path), max_images=30
    )
    document = json.loads(read_file(read_manifest(ranking.path, kind="ranking"), "ranking.json", store))
    rows = {row["name"]: row for row in document["candidates"]}
    assert set(rows) == {"small", "large"}
    assert document["rows_used"] == 30
    assert all(row["knn_accuracy"] > 0.9 for row in rows.values())  # stripes are easy even for random features
    assert {name: row["static_rank"] for name, row in rows.items()} == {"large": 1, "small": 2}
    assert document["chosen"] == min(rows, key=lambda name: rows[name]["macs"]) == "small"

    bundle = load_model(model.path, store)
    assert bundle.assets.labels == ["rows", "columns"]
    assert (bundle.assets.preprocess.image_size, bundle.assets.preprocess.mean) == (32, (0.5, 0.5, 0.5))
    assert bundle.architecture.source == "torchvision:squeezenet1_1"
    with torch.no_grad():
        assert bundle.module(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    assert "latency" not in json.dumps(read_manifest(model.path).metadata)  # else no two runs had one digest
    assert metrics.metadata["macs"] == rows["small"]["macs"]
    assert "small is chosen" in Path(page.path).read_text(encoding="utf-8")


def test_same_seed_gives_the_same_digest_and_another_seed_another_head(
    tmp_path: Path, store: Store, dataset_path: Path, catalog_path: Path
) -> None:
    digests = []
    for number, seed in enumerate((3, 3, 4)):
        folder = tmp_path / str(number)
        model = run(folder, dataset_path, backbones=["small"], catalog=str(catalog_path), max_images=10, seed=seed)[0]
        digests.append(read_manifest(model.path).digest)
    assert digests[0] == digests[1] != digests[2]


def test_limits_reject_before_the_scores_are_compared(
    tmp_path: Path, store: Store, dataset_path: Path, catalog_path: Path
) -> None:
    parameters = {"backbones": ["small", "large"], "catalog": str(catalog_path), "max_images": 10}
    ranking = run(tmp_path, dataset_path, **parameters, max_parameters_m=1.0)[1]
    document = json.loads(read_file(read_manifest(ranking.path), "ranking.json", store))
    assert document["chosen"] == "small"
    assert (
        "above max_parameters_m 1" in next(row for row in document["candidates"] if row["name"] == "large")["rejected"]
    )
    with pytest.raises(UserError, match=r"no backbone meets the limits .*small: .* parameters.*large: "):
        run(tmp_path, dataset_path, **parameters, max_parameters_m=0.001)


def test_training_images_of_one_class_cannot_compare_backbones(
    tmp_path: Path, store: Store, dataset_path: Path, catalog_path: Path
) -> None:
    rows = [{**row, "label": 0} for row in open_dataset(dataset_path, store).iterate("train", limit=12)]
    splits: dict[str, list[dict[str, object]]] = {"train": rows, "validation": [], "test": []}
    write_dataset(
        tmp_path / "one", rows=get_task("classification").rows, classes=["rows", "columns"], splits=splits, store=store
    )
    with pytest.raises(UserError, match="all 12 training images that were examined belong to class 'rows'"):
        run(tmp_path, tmp_path / "one", backbones=["small"], catalog=str(catalog_path))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbones": ["smal"]}, "unknown backbone 'smal'; did you mean 'small'"),
        ({"image_size": 8}, "image_size must be between 16 and 2048, or 0 for each backbone's own size; got 8"),
        ({"max_images": 3}, "max_images must be at least 10"),
        ({"seed": -1}, "seed must be between 0 and"),
        ({"max_latency_ms": 0.0}, "max_latency_ms must be greater than 0, or -1 for no limit"),
    ],
)
def test_mistake_is_refused_in_one_line(
    tmp_path: Path, store: Store, dataset_path: Path, catalog_path: Path, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(tmp_path, dataset_path, **{"backbones": "small", "catalog": str(catalog_path), **parameters})
    assert "\n" not in str(caught.value)


def test_a_network_that_is_to_be_pruned_and_cannot_be_is_refused_with_the_layer(
    tmp_path: Path, store: Store, dataset_path: Path
) -> None:
    register()
    (tmp_path / "mine.yaml").write_text(f"backbones:\n  mine:\n    {ENTRY}architecture: torchvision:tiny_regnet_x\n")
    mine = {"backbones": ["mine"], "catalog": str(tmp_path / "mine.yaml")}
    with pytest.raises(
        UserError, match=r"backbone 'mine' \(torchvision:tiny_regnet_x\) cannot be pruned.*'trunk_output"
    ):
        run(tmp_path, dataset_path, **mine, prunes=True)


def test_beside_one_that_can_be_pruned_it_is_rejected_and_the_other_is_chosen(
    tmp_path: Path, store: Store, dataset_path: Path
) -> None:
    register()
    entries = {"mine": "torchvision:tiny_regnet_x", "small": "torchvision:squeezenet1_1"}
    text = "".join(f"  {name}:\n    {ENTRY}architecture: {source}\n" for name, source in entries.items())
    (tmp_path / "mine.yaml").write_text("backbones:\n" + text)
    given = {"backbones": list(entries), "catalog": str(tmp_path / "mine.yaml"), "max_images": 10}
    _, ranking, _, page = run(tmp_path, dataset_path, **given, prunes=True)
    document = json.loads(read_file(read_manifest(ranking.path), "ranking.json", store))
    rejected = {row["name"]: row["rejected"] for row in document["candidates"]}
    assert document["chosen"] == "small"
    assert rejected["small"] is None
    assert "cannot be pruned: at most" in rejected["mine"]
    assert "cannot be pruned: at most" in Path(page.path).read_text(encoding="utf-8")
    # What is too large is refused for that, and what is left of the list not at all.
    with pytest.raises(
        UserError, match=r"no backbone is left: mine: .* cannot be pruned.*; small: parameters .* above"
    ):
        run(tmp_path, dataset_path, **given, prunes=True, max_parameters_m=0.3)


def test_a_network_that_was_made_for_another_image_size_is_refused(
    tmp_path: Path, store: Store, dataset_path: Path
) -> None:
    register()
    (tmp_path / "mine.yaml").write_text(f"backbones:\n  mine:\n    {ENTRY}architecture: timm:tiny_deit\n")
    mine = {"backbones": ["mine"], "catalog": str(tmp_path / "mine.yaml")}
    with pytest.raises(UserError, match=r"cannot take inputs of 3×48×48: in layer 'patch_embed'"):
        run(tmp_path, dataset_path, **mine, image_size=48)
