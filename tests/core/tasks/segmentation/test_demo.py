"""The embedded scenes: small, balanced, and without a source item in two splits."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.data.dataset import SPLITS, open_dataset
from components.core.data.ingestion.sources import quick_look
from components.core.store import Store
from components.core.tasks.segmentation.demo import build
from components.core.tasks.segmentation.masks import stored_mask
from components.core.tasks.segmentation.rows import SegmentationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

ROWS = SegmentationRows()
DEMO = ROWS.demo.file


def test_it_is_small_and_says_that_it_is_synthetic() -> None:
    assert DEMO.stat().st_size < 3_000_000
    info = json.loads(pq.read_schema(DEMO).metadata[b"huggingface"])["info"]
    assert "Synthetic" in info["description"]
    assert "synthetic" in ROWS.demo.licence
    assert "synthetic" in ROWS.demo.description
    notice = DEMO.with_name("NOTICE").read_text()
    assert "synthetic" in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_defaults_give_500_test_scenes_and_no_group_in_two_splits(tmp_path: Path, store: Store) -> None:
    manifest = prepare(Settings(dataset="demo", rows=ROWS), tmp_path / "out", store).manifest
    assert manifest.metadata["description"] == ROWS.demo.description
    dataset = open_dataset(tmp_path / "out", store)
    assert dataset.counts == {"train": 1200, "validation": 300, "test": 500}
    assert dataset.classes == build.CLASSES
    assert (manifest.metadata["quarantined"], manifest.metadata["duplicates"]) == ({}, 0)
    for split in SPLITS:
        assert min(dataset.class_counts[split]) > 10_000
    groups = {
        split: {row["source"].split()[1][:3] for row in dataset.iterate(split, columns=("source",))} for split in SPLITS
    }
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == build.NUM_GROUPS


def test_no_source_item_is_in_two_groups_and_scenes_use_their_group_s_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    members = build.groups_of(8500)
    every = np.concatenate(members)
    assert sorted(every.tolist()) == list(range(8500))
    used: list[int] = []

    class Watched(list):
        def __getitem__(self, number):
            used.append(number)
            return super().__getitem__(number)

    grey = np.ones((28, 28))
    items = Watched([build.SourceItem(grey, grey, 1)] * 8500)
    list(build.scenes(7, members[7].tolist(), items))
    assert used
    assert set(used) <= set(members[7].tolist())


def test_the_script_makes_what_is_in_the_repository() -> None:
    made = list(build.rows([0]))
    again = list(build.rows([0]))
    assert made == again
    stored = pq.read_table(DEMO).slice(0, build.SCENES_PER_GROUP).to_pylist()
    assert [row["group"] for row in stored] == [row["group"] for row in made]
    for ours, theirs in zip(made, stored, strict=True):
        # Another version of an encoder may give other bytes; the pictures are the same.
        ours_pixels, theirs_pixels = (
            np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).astype(float) for row in (ours, theirs)
        )
        assert np.abs(ours_pixels - theirs_pixels).mean() < 2
        same = stored_mask(ours["mask"]["bytes"]) == stored_mask(theirs["mask"]["bytes"])
        assert same.mean() > 0.99


def test_an_item_covers_what_the_border_does_not_reach() -> None:
    grey = np.zeros((5, 5), dtype=np.uint8)
    grey[1:4, 1:4] = 200
    grey[2, 2] = 0
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 1
    np.testing.assert_array_equal(build.coverage(grey), expected)


def test_a_look_at_it_takes_a_moment() -> None:
    look = quick_look("demo", ROWS)
    assert (look.kind, list(look.classes)) == ("table", build.CLASSES)
