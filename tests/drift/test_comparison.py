"""Which images count as new, and which ones the feature test looks at."""

import io
import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from kfp import dsl
from PIL import Image

from components.core.artifacts.manifest import read_file, read_manifest
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.data.seen_rows import SEEN, seen_in_test
from components.core.models.architecture import Architecture
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.drift.comparison import Arrivals, arrivals, matched_samples, measure_drift
from components.drift.component import drift

CLASSES = ["a", "b"]


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def image(number: int, *, bright: int = 0) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 150, (16, 16, 3), dtype=np.uint8) + np.uint8(bright)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, label: int, *, bright: int = 0) -> dict:
    data = image(number, bright=bright)
    return {"image": data, "label": label, "digest": sha256(data).hexdigest(), "source": str(number)}


def dataset(store: Store, path, classes=CLASSES, quarantined=(), **splits: list[dict]) -> Dataset:
    files = [{"source": name, "label": "a", "reason": reason, "detail": ""} for name, reason in quarantined]
    write_dataset(
        path, rows=get_task("classification").rows, classes=classes, splits=splits, store=store,
        extra_files={"quarantine.json": json.dumps({"files": files}).encode()},
    )  # fmt: skip
    return open_dataset(path, store)


def network() -> ModelBundle:
    torch.manual_seed(0)
    architecture = Architecture(backbone="x", source="timm:test_resnet", num_outputs=2, task="classification")
    preprocess = Preprocess(image_size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assets = ImageAssets(preprocess=preprocess, labels=CLASSES)
    return ModelBundle(module=build(architecture).eval(), architecture=architecture, assets=assets)


def test_new_is_what_the_reference_holds_in_no_split(store, tmp_path):
    reference = dataset(store, tmp_path / "r", train=[row(1, 0), row(2, 1)], test=[row(3, 0)])
    newest = dataset(
        store, tmp_path / "n", train=[row(1, 0), row(4, 1)], validation=[row(5, 1)], test=[row(3, 0), row(6, 0)]
    )
    found = arrivals(newest, reference)
    assert (found.num_new, found.num_gone, found.num_moved_to_test) == (3, 1, 0)
    # A new test image is counted and not looked at.
    assert found.new == {"b": [row(4, 1)["digest"], row(5, 1)["digest"]]}
    assert found.reference == {"a": [row(1, 0)["digest"]], "b": [row(2, 1)["digest"]]}


@pytest.mark.parametrize("before", ["train", "validation"])
def test_a_test_image_that_was_trained_or_chosen_on_is_told(store, tmp_path, before):
    reference = dataset(store, tmp_path / "r", **{before: [row(1, 0)]}, test=[row(2, 1)])
    newest = dataset(store, tmp_path / "n", train=[row(3, 0)], test=[row(1, 0), row(2, 1)])
    assert arrivals(newest, reference).num_moved_to_test == 1


def found_of(new: dict[str, int], reference: dict[str, int]) -> Arrivals:
    names = [{name: [f"{side}{name}{i:04d}" for i in range(count)] for name, count in counts.items()}
             for side, counts in (("n", new), ("r", reference))]  # fmt: skip
    return Arrivals(new=names[0], reference=names[1], num_new=0, num_gone=0, num_moved_to_test=0)


def mix(digests: set[str]) -> dict[str, int]:
    return {name: sum(digest[1] == name for digest in digests) for name in sorted({digest[1] for digest in digests})}


@pytest.mark.parametrize(
    ("new", "reference", "of_new", "of_reference"),
    [
        ({"a": 10, "b": 5}, {"a": 90, "b": 60}, {"a": 10, "b": 5}, {"a": 90, "b": 45}),
        ({"a": 10, "b": 5}, {"a": 4, "b": 60}, {"a": 4, "b": 5}, {"a": 4, "b": 5}),
        ({"a": 10, "c": 5}, {"a": 25, "b": 60}, {"a": 10}, {"a": 20}),
        ({"a": 1000, "b": 1000}, {"a": 5000, "b": 5000}, {"a": 100, "b": 100}, {"a": 100, "b": 100}),
        ({"c": 5}, {"a": 25}, {}, {}),
    ],
)
def test_both_samples_have_one_mix_of_classes(new, reference, of_new, of_reference):
    chosen = matched_samples(found_of(new, reference), 200)
    assert (mix(chosen[0]), mix(chosen[1])) == (of_new, of_reference)


def test_a_change_of_light_is_found_in_the_features_and_not_in_the_labels(store, tmp_path):
    old = [row(number, number % 2) for number in range(160)]
    reference = dataset(store, tmp_path / "r", train=old)
    newest = dataset(store, tmp_path / "n", train=old + [row(1000 + n, n % 2, bright=80) for n in range(60)])
    found = measure_drift(newest, reference, network(), store, max_images=200, seed=0)
    assert found["labels"]["p_value"] > 0.5
    assert found["features"]["auc"] > 0.9
    assert found["features"]["p_value"] < 0.01
    assert found["images"] == {"reference": 160, "dataset": 220, "new": 60, "gone": 0, "moved_to_test": 0}


def test_another_mix_is_found_in_the_labels_and_not_in_the_features(store, tmp_path):
    old = [row(number, number % 2) for number in range(160)]
    reference = dataset(store, tmp_path / "r", train=old)
    newest = dataset(store, tmp_path / "n", train=old + [row(1000 + n, 0) for n in range(50)])
    found = measure_drift(newest, reference, network(), store, max_images=200, seed=0)
    assert found["labels"]["p_value"] < 0.01
    labels = found["labels"]
    assert labels["observed_distance"] == pytest.approx(0.5)
    assert 0 < labels["chance_distance"] < 0.1
    assert labels["distance"] == pytest.approx((0.5**2 - labels["chance_distance"] ** 2) ** 0.5)
    assert found["features"]["p_value"] > 0.01


def test_with_nothing_new_nothing_is_tested(store, tmp_path):
    one = dataset(store, tmp_path / "r", train=[row(1, 0), row(2, 1)])
    found = measure_drift(one, one, network(), store, max_images=200, seed=0)
    assert (found["labels"], found["features"], found["images"]["new"]) == (None, None, 0)


def test_only_what_was_put_aside_since_is_a_fault_of_what_arrived(store, tmp_path):
    old, new = [row(1, 0), row(2, 1)], [row(3, 0)]
    reference = dataset(store, tmp_path / "r", train=old, quarantined=[("x.png", "corrupt")])
    quarantined = [("x.png", "corrupt"), ("y.png", "truncated"), ("notes.txt", "unsupported")]
    newest = dataset(store, tmp_path / "n", train=old + new, quarantined=quarantined)
    found = measure_drift(newest, reference, network(), store, max_images=200, seed=0)
    assert found["quarantine"] == {"new": 1, "share": 0.5}


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        (["a", "b", "c"], {"added": ["c"], "gone": [], "reordered": False}),
        (["b", "a"], {"added": [], "gone": [], "reordered": True}),
        (["a"], {"added": [], "gone": ["b"], "reordered": False}),
    ],
)
def test_other_classes_are_told(store, tmp_path, classes, wanted):
    reference = dataset(store, tmp_path / "r", train=[row(1, 0), row(2, 1)])
    newest = dataset(store, tmp_path / "n", classes=classes, train=[row(3, 0)])
    assert measure_drift(newest, reference, network(), store, max_images=200, seed=0)["classes"] == wanted


def test_what_champion_or_anchor_was_made_from_is_found_in_the_test_split(store, tmp_path):
    anchor = dataset(store, tmp_path / "a", train=[row(1, 0)], validation=[row(2, 1)], test=[row(3, 0)])
    champion = dataset(store, tmp_path / "c", train=[row(1, 0), row(4, 1)], test=[row(2, 1), row(3, 0)])
    newest = dataset(store, tmp_path / "n", train=[row(5, 0)], test=[row(number, 0) for number in (1, 2, 3, 4, 6)])
    seen = {number: row(number, 0)["digest"] for number in (1, 2, 4)}
    assert seen_in_test(newest, [champion]) == sorted([seen[1], seen[4]])
    assert seen_in_test(newest, [champion, anchor, champion]) == sorted(seen.values())
    assert seen_in_test(champion, [champion]) == []


def test_what_the_first_release_of_the_year_was_made_from_leaves_the_comparisons_too(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    save_model(tmp_path / "model", network(), store, {})
    dataset(store, tmp_path / "champion", train=[row(1, 0)])
    dataset(store, tmp_path / "anchor", train=[row(2, 0)], validation=[row(7, 0)])
    dataset(store, tmp_path / "year", train=[row(3, 0)], validation=[row(4, 1)])
    dataset(store, tmp_path / "newest", train=[row(5, 0)], test=[row(number, 0) for number in (1, 2, 3, 4, 6)])
    given = {
        name: dsl.Artifact(uri=str(tmp_path / folder))
        for name, folder in (
            ("dataset", "newest"), ("reference", "champion"), ("model", "model"), ("anchor_reference", "anchor"),
            ("year_reference", "year"),
        )
    }  # fmt: skip
    kinds = {"drift": dsl.Artifact, "metrics": dsl.Metrics, "page": dsl.HTML}
    drift.python_func(**given, **{name: kind(uri=str(tmp_path / f"made-{name}")) for name, kind in kinds.items()})
    seen = json.loads(read_file(read_manifest(tmp_path / "made-drift"), SEEN, store))
    assert seen == sorted(row(number, 0)["digest"] for number in (1, 2, 3, 4))
