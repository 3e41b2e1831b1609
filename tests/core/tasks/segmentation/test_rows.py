"""Rows of images and masks: what is used, and each bad pair with its reason."""

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.data.ingestion.sources import quick_look
from components.core.errors import UserError
from components.core.models.catalog import find_backbone, load_catalog
from components.core.store import Store
from components.core.tasks import get_task
from components.core.tasks.segmentation.masks import encode as encode_mask
from components.core.tasks.segmentation.masks import stored_mask
from components.core.tasks.segmentation.rows import SegmentationRows
from components.data_prep.prepare import Prepared, Settings, prepare

Pairs = Callable[..., Path]
Encode = Callable[..., bytes]
ROWS = SegmentationRows()


def prepared(folder: Path, store: Store, rows: SegmentationRows = ROWS, name: str = "out") -> tuple[Prepared, Dataset]:
    out = folder.parent / name
    result = prepare(Settings(dataset=str(folder), rows=rows), out, store)
    return result, open_dataset(out, store)


def masks_of(dataset: Dataset) -> dict[str, np.ndarray]:
    return {row["source"]: stored_mask(row["mask"]) for split in SPLITS for row in dataset.iterate(split)}


def test_pairs_become_rows_with_the_image_as_it_was_and_the_mask_as_numbers(pairs: Pairs, store: Store) -> None:
    folder = pairs()
    _, dataset = prepared(folder, store)
    assert (dataset.task, dataset.classes) == ("segmentation", ["0", "1", "2"])
    assert sum(dataset.counts.values()) == 12
    for split in SPLITS:
        for row in dataset.iterate(split):
            assert list(row) == ["image", "mask", "digest", "source"]
            assert row["image"] == (folder / row["source"]).read_bytes()
            assert row["digest"] == hashlib.sha256(row["image"]).hexdigest()
            given = np.asarray(Image.open(folder / "masks" / Path(row["source"]).name))
            np.testing.assert_array_equal(stored_mask(row["mask"]), given)


def test_the_classes_are_counted_in_pixels(pairs: Pairs, store: Store) -> None:
    _, dataset = prepared(pairs(), store)
    for split in SPLITS:
        every = np.concatenate([stored_mask(row["mask"]).ravel() for row in dataset.iterate(split)])
        assert dataset.class_counts[split] == [int((every == number).sum()) for number in range(3)]


def write_bad_masks(folder: Path, encode: Encode) -> dict[str, str]:
    """Pairs 00 to 06 made bad, each in its way; the reason of each."""
    good = np.asarray(Image.open(folder / "masks" / "00.png"))
    (folder / "masks" / "00.png").unlink()
    (folder / "masks" / "01.png").write_bytes(encode(good[:-1]))
    (folder / "masks" / "02.png").write_bytes(encode(np.where(good == 2, 7, good).astype(np.uint8)))
    (folder / "masks" / "03.png").write_bytes(encode(np.full_like(good, 255)))
    (folder / "masks" / "04.png").write_bytes(encode(np.stack([good * 90, good, good], axis=2)))
    (folder / "masks" / "05.png").write_bytes(encode(np.where(good == 2, np.uint16(4000), good.astype(np.uint16))))
    (folder / "masks" / "06.png").write_bytes((folder / "masks" / "07.png").read_bytes()[:-40])
    (folder / "masks" / "only.png").write_bytes(encode(good))
    return {
        "images/00.png": "no pair",
        "images/01.png": "mask of another size",
        "images/02.png": "unknown mask value",
        "images/03.png": "nothing labelled",
        "images/04.png": "mask colour without a palette",
        "images/05.png": "mask value above 255",
        "images/06.png": "damaged mask",
        "masks/only.png": "no pair",
    }


def test_each_bad_mask_has_one_line_with_its_reason(pairs: Pairs, store: Store, encode: Encode) -> None:
    folder = pairs(20)
    (folder / "classes.txt").write_text("ground\nroad\nsky\n")
    expected = write_bad_masks(folder, encode)
    result, dataset = prepared(folder, store)
    records = {record["source"]: record for record in result.quarantine.records()}
    assert {name: record["reason"] for name, record in records.items()} == expected
    assert "7 in" in records["images/02.png"]["detail"]
    assert "4000 in" in records["images/05.png"]["detail"]
    assert "masks/00.png" in records["images/00.png"]["detail"]
    assert set(expected.values()) <= set(ROWS.reasons)
    assert dataset.manifest.metadata["quarantined"]["no pair"] == 2
    assert dataset.classes == ["ground", "road", "sky"]
    assert sum(dataset.counts.values()) == 13


def test_images_that_cannot_be_used_keep_the_reasons_of_images(pairs: Pairs, store: Store) -> None:
    folder = pairs(20)
    (folder / "images" / "00.png").write_bytes(b"no image")
    (folder / "images" / "notes.txt").write_text("hello")
    result, _ = prepared(folder, store)
    assert {r["source"]: r["reason"] for r in result.quarantine.records()} == {
        "images/00.png": "corrupt",
        "images/notes.txt": "unsupported",
    }


def test_an_oversized_mask_is_not_read(pairs: Pairs, store: Store) -> None:
    folder = pairs(20)
    (folder / "masks" / "00.png").write_bytes(b"x" * 2_000_000)
    settings = Settings(dataset=str(folder), rows=ROWS, max_image_mb=1)
    (record,) = prepare(settings, folder.parent / "out", store).quarantine.records()
    assert (record["source"], record["reason"]) == ("images/00.png", "oversized")
    assert record["detail"] == "mask masks/00.png: 2.0 MB; the limit is 1 MB"


def test_a_palette_mask_gives_its_indices_and_a_16_bit_one_its_values(
    pairs: Pairs, store: Store, encode: Encode
) -> None:
    folder = pairs()
    given = {number: np.asarray(Image.open(folder / "masks" / f"{number:02d}.png")) for number in (0, 1)}
    coloured = Image.fromarray(given[0]).convert("P")
    coloured.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    coloured.save(folder / "masks" / "00.png")
    (folder / "masks" / "01.png").write_bytes(encode(given[1].astype(np.uint16)))
    _, dataset = prepared(folder, store)
    for number, mask in given.items():
        np.testing.assert_array_equal(masks_of(dataset)[f"images/{number:02d}.png"], mask)


def test_colours_become_classes_with_a_palette(pairs: Pairs, store: Store, encode: Encode) -> None:
    folder = pairs()
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], dtype=np.uint8)
    given = {}
    for path in sorted((folder / "masks").iterdir()):
        given[f"images/{path.name}"] = np.asarray(Image.open(path))
        path.write_bytes(encode(colours[given[f"images/{path.name}"]]))
    (folder / "palette.json").write_text('{"sky": [10, 20, 30], "sea": [40, 50, 60], "land": [70, 80, 90]}')
    _, dataset = prepared(folder, store)
    assert dataset.classes == ["sky", "sea", "land"]
    backbone = find_backbone("efficientnet_lite0", load_catalog())
    assert get_task("segmentation").assets(backbone, dataset, 32).palette == [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    for source, mask in masks_of(dataset).items():
        np.testing.assert_array_equal(mask, given[source])


def test_values_without_names_become_consecutive_numbers(pairs: Pairs, store: Store, encode: Encode) -> None:
    folder = pairs()
    values = np.array([0, 7, 40], dtype=np.uint8)
    given = {}
    for path in sorted((folder / "masks").iterdir()):
        given[f"images/{path.name}"] = np.asarray(Image.open(path))
        path.write_bytes(encode(values[given[f"images/{path.name}"]]))
    _, dataset = prepared(folder, store)
    assert dataset.classes == ["0", "7", "40"]
    for source, mask in masks_of(dataset).items():
        np.testing.assert_array_equal(mask, given[source])


def test_0_and_255_need_to_be_told_apart_from_ignored(pairs: Pairs, store: Store, encode: Encode) -> None:
    folder = pairs()
    for path in (folder / "masks").iterdir():
        path.write_bytes(encode(np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8)))
    with pytest.raises(UserError, match=r"one class only \('0'\).*value 255 is ignored.*classes\.json"):
        prepared(folder, store)
    (folder / "classes.json").write_text('{"background": 0, "object": 255}')
    _, dataset = prepared(folder, store)
    assert dataset.classes == ["background", "object"]
    assert {int(value) for mask in masks_of(dataset).values() for value in np.unique(mask)} == {0, 1}


def test_another_ignored_value_is_ignored(pairs: Pairs, store: Store) -> None:
    folder = pairs()
    _, dataset = prepared(folder, store, SegmentationRows(ignore_index=0))
    assert dataset.classes == ["1", "2"]
    for source, mask in masks_of(dataset).items():
        given = np.asarray(Image.open(folder / "masks" / Path(source).name))
        np.testing.assert_array_equal(mask, np.array([255, 0, 1])[given])


def test_of_equal_pairs_one_is_kept_and_equal_images_with_other_masks_are_a_conflict(
    pairs: Pairs, store: Store
) -> None:
    folder = pairs()
    for old, new, mask in (("00", "copy", "00"), ("01", "other", "02")):
        (folder / "images" / f"{new}.png").write_bytes((folder / "images" / f"{old}.png").read_bytes())
        (folder / "masks" / f"{new}.png").write_bytes((folder / "masks" / f"{mask}.png").read_bytes())
    result, dataset = prepared(folder, store)
    assert result.quarantine.duplicates == [("images/copy.png", "images/00.png")]
    assert [(r["source"], r["reason"], r["detail"]) for r in result.quarantine.records()] == [
        ("images/01.png", "conflicting masks", "same bytes as images/other.png"),
        ("images/other.png", "conflicting masks", "same bytes as images/01.png"),
    ]
    assert sum(dataset.counts.values()) == 11


def test_the_same_mask_in_another_encoding_is_no_conflict(pairs: Pairs, store: Store, encode: Encode) -> None:
    folder = pairs()
    mask = np.asarray(Image.open(folder / "masks" / "00.png"))
    (folder / "images" / "copy.png").write_bytes((folder / "images" / "00.png").read_bytes())
    (folder / "masks" / "copy.bmp").write_bytes(encode(mask, "BMP"))
    result, _ = prepared(folder, store)
    assert (len(result.quarantine.files), len(result.quarantine.duplicates)) == (0, 1)


def test_a_folder_that_is_a_group_lies_in_one_split(pairs: Pairs, store: Store) -> None:
    folder = pairs(60, names=lambda number: f"patient{number % 12}/{number}")
    for rows, most in ((SegmentationRows(group_folders=True), 1), (ROWS, 3)):
        _, dataset = prepared(folder, store, rows, name=f"out{most}")
        found: dict[str, set[str]] = {}
        for split in SPLITS:
            for row in dataset.iterate(split):
                found.setdefault(row["source"].split("/")[1], set()).add(split)
        assert max(map(len, found.values())) == most
        assert set().union(*found.values()) == set(SPLITS)


def test_three_groups_are_split_by_rank_and_two_are_too_few(pairs: Pairs, store: Store) -> None:
    rows = SegmentationRows(group_folders=True)
    folder = pairs(12, names=lambda number: f"{number % 3}/{number}")
    result, dataset = prepared(folder, store, rows)
    assert dataset.counts == {"train": 4, "validation": 4, "test": 4}
    assert result.plan.small_classes == [""]
    for path in (folder / "images" / "2").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="the data set has 2 usable groups; it needs at least 3"):
        prepared(folder, store, rows, name="again")


def test_a_data_set_without_a_usable_mask_is_refused_at_once_with_the_first_reason(
    pairs: Pairs, store: Store, encode: Encode
) -> None:
    folder = pairs(300)
    for path in (folder / "masks").iterdir():
        path.write_bytes(encode(np.zeros((3, 3), dtype=np.uint8)))
    start = time.monotonic()
    message = r"images/00\.png: mask of another size: mask masks/00\.png: 3 x 3 pixels"
    missing = r"images/00\.png: mask masks/00\.png: 3 x 3 pixels"
    with pytest.raises(UserError, match=f"of the first 64 pairs none can be used; first: {message}"):
        quick_look(str(folder), ROWS)
    with pytest.raises(UserError, match=f"no usable image: 300 mask of another size; first: {missing}"):
        prepared(folder, store)
    assert time.monotonic() - start < 5


def test_a_look_tells_the_classes_and_refuses_one(pairs: Pairs, encode: Encode) -> None:
    folder = pairs()
    look = quick_look(str(folder), ROWS)
    assert (look.kind, look.classes) == ("folder", ("0", "1", "2"))
    for path in (folder / "masks").iterdir():
        path.write_bytes(encode(np.zeros((8, 12), dtype=np.uint8)))
    with pytest.raises(UserError, match=r"one class only \('0'\)"):
        quick_look(str(folder), ROWS)


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 1000),
)
def test_counts_and_key_follow_from_the_pixels_alone(sizes: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], dtype=np.uint8), size=sizes)
    mask[0, 0] = 1
    row = {"mask": encode_mask(mask)}
    assert ROWS.class_counts(row, 4).tolist() == [int((mask == number).sum()) for number in range(4)]
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=0)
    assert ROWS.target_key(row) == ROWS.target_key({"mask": buffer.getvalue()})
    assert ROWS.target_key(row) != ROWS.target_key({"mask": encode_mask(np.where(mask == 1, 3, mask))})


def test_the_rows_of_a_previous_data_set_are_taken_over(pairs: Pairs, store: Store) -> None:
    folder = pairs(40)
    _, first = prepared(folder, store)
    result = prepare(Settings(dataset=str(folder), rows=ROWS), folder.parent / "again", store, previous=first)
    assert result.manifest.digest == first.manifest.digest
    changed = folder / "masks" / "00.png"
    changed.write_bytes((folder / "masks" / "01.png").read_bytes())
    prepare(Settings(dataset=str(folder), rows=ROWS), folder.parent / "more", store, previous=first)
    more = open_dataset(folder.parent / "more", store)
    np.testing.assert_array_equal(masks_of(more)["images/00.png"], np.asarray(Image.open(changed)))
    assert len({e.sha256 for e in more.manifest.files} & {e.sha256 for e in first.manifest.files}) >= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": 1}, "unknown data parameter 'ignore' for segmentation; known: ignore_index, group_column"),
        ({"ignore_index": -2}, r"ignore_index must be a whole number in -1\.\.65535"),
        ({"group_folders": "yes"}, "group_folders must be true or false, got 'yes'"),
        ({"group_column": 3}, "group_column must be text, got 3"),
        ({"group_column": "a", "group_folders": True}, "give one of them"),
    ],
)
def test_a_wrong_data_parameter_is_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ROWS.with_options(options)
