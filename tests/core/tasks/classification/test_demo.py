"""The embedded demo set."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.store import Store
from components.core.tasks.classification.demo import build
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

IMAGES = ClassificationRows()
DEMO_FILE = IMAGES.demo.file


def test_it_is_small_balanced_and_ordered_as_documented() -> None:
    assert DEMO_FILE.stat().st_size < 3_900_000
    table = pq.read_table(DEMO_FILE)
    assert Counter(table["label"].to_pylist()) == dict.fromkeys(range(10), build.PER_CLASS)


def test_defaults_give_two_thousand_test_images_and_leave_nothing_out(tmp_path: Path, store: Store) -> None:
    manifest = prepare(Settings(rows=IMAGES, dataset="demo"), tmp_path / "out", store).manifest
    facts = manifest.metadata
    assert facts["counts"]["test"] >= 2000
    assert sum(facts["counts"].values()) == 10 * build.PER_CLASS
    assert facts["classes"] == build.CLASSES
    assert (facts["quarantined"], facts["duplicates"]) == ({}, 0)
    assert max(entry.bytes for entry in manifest.files) < 64_000_000


def test_the_licence_is_beside_it() -> None:
    notice = DEMO_FILE.with_name("NOTICE").read_text()
    assert "Zalando" in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_images_are_encoded_without_loss() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(build.webp(pixels))))
    np.testing.assert_array_equal(decoded, np.repeat(pixels[:, :, None], 3, axis=2))


def test_idx_files_are_read_by_their_header(tmp_path: Path) -> None:
    import gzip

    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    header = b"".join(number.to_bytes(4, "big") for number in (2051, 3, 2, 2))
    (tmp_path / "x.gz").write_bytes(gzip.compress(header + images.tobytes()))
    np.testing.assert_array_equal(build.read_idx(tmp_path / "x.gz"), images)
    (tmp_path / "y.gz").write_bytes(gzip.compress(b"\0\0\0\0"))
    with pytest.raises(ValueError, match="not an IDX file"):
        build.read_idx(tmp_path / "y.gz")


def test_the_first_of_each_class_are_taken_in_file_order() -> None:
    labels = np.array([*range(10), *range(10), *range(10)])
    assert build.first_of_each(labels, 2).tolist() == list(range(20))
