"""Near copies across splits: counted, or kept in one split."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import Prepared, prepare
from components.data_prep.settings import Settings
from components.data_prep.splitting import position
from components.data_prep.summary import write_summary

Prepare = Callable[..., tuple[Dataset, Prepared]]


def photo(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).integers(40, 200, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(cells).resize((48, 48), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, *, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """40 pictures in 2 classes; of the first 10 there is a smaller copy of another quality."""
    folder = tmp_path / "pictures"
    for number in range(40):
        save(photo(number), folder / "ab"[number % 2] / f"{number:02d}.jpg", quality=95)
        if number < 10:
            copy = photo(number).resize((36, 36), Image.Resampling.LANCZOS)
            save(copy, folder / "ab"[number % 2] / f"{number:02d}-copy.jpg", quality=70)
    return folder


@pytest.fixture
def prepared(tmp_path: Path, store: Store) -> Prepare:
    def run(folder: Path, rows: ClassificationRows | None = None, **changes: object) -> tuple[Dataset, Prepared]:
        settings = Settings(rows=rows or ClassificationRows(), dataset=str(folder), **changes)  # type: ignore[arg-type]
        result = prepare(settings, tmp_path / "out", store)
        return open_dataset(tmp_path / "out", store), result

    return run


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {row["source"]: split for split in SPLITS for row in dataset.iterate(split)}


def pairs_of(found: dict[str, str]) -> list[tuple[str, str]]:
    """The splits of each picture and its copy."""
    return [(found[name.replace("-copy", "")], split) for name, split in sorted(found.items()) if "-copy" in name]


def test_copies_of_test_pictures_in_training_are_counted_and_told(
    pictures: Path, prepared: Prepare, tmp_path: Path
) -> None:
    dataset, result = prepared(pictures)
    pairs = pairs_of(splits_of(dataset))
    leaked = sum(set(pair) == {"test", "train"} for pair in pairs)
    assert leaked >= 2, "the fixture needs copies across splits"
    assert dataset.manifest.metadata["near_duplicates"] == {
        "grouped": False,
        "rows": 20,
        "groups": 10,
        "in_training": {
            "test": leaked,
            "validation": sum(set(pair) == {"validation", "train"} for pair in pairs),
        },
    }
    (warning,) = [warning for warning in result.warnings if "Near copies" in warning.title]
    assert f"{leaked} of {dataset.counts['test']} test images" in warning.text
    write_summary(
        tmp_path / "page.html", shown_as="pictures", prepared=result, dataset=dataset, rows=ClassificationRows()
    )
    page = (tmp_path / "page.html").read_text()
    assert "20 images in 10 groups are near copies" in page
    assert all(source in page for pair in result.plan.near.examples for source in pair)  # type: ignore[union-attr]


def test_grouped_copies_lie_in_one_split_and_only_joined_pictures_move(pictures: Path, prepared: Prepare) -> None:
    alone = splits_of(prepared(pictures)[0])
    dataset, result = prepared(pictures, near_duplicates="group")
    together = splits_of(dataset)
    assert all(one == other for one, other in pairs_of(together))
    assert dataset.manifest.metadata["near_duplicates"]["in_training"] == {"test": 0, "validation": 0}
    assert dataset.manifest.metadata["near_duplicates"]["grouped"]
    assert not [warning for warning in result.warnings if "Near copies" in warning.title]
    moved = {name for name in alone if alone[name] != together[name]}
    joined = {name for name in alone if int(name.split("/")[1][:2]) < 10}
    assert moved
    assert moved <= joined
    order = ("test", "validation", "train")
    assert all(order.index(together[name]) < order.index(alone[name]) for name in moved), "moves lead towards test"


def test_a_new_copy_moves_its_group_alone(pictures: Path, prepared: Prepare) -> None:
    before = splits_of(prepared(pictures, near_duplicates="group")[0])
    save(photo(20), pictures / "a" / "20-again.jpg", quality=60)
    save(photo(90), pictures / "a" / "90.jpg", quality=90)
    after = splits_of(prepared(pictures, near_duplicates="group")[0])
    assert {name for name in before if before[name] != after[name]} <= {"a/20.jpg"}
    assert after["a/20.jpg"] == after["a/20-again.jpg"]


def test_the_smallest_key_decides_for_a_group(pictures: Path, prepared: Prepare) -> None:
    dataset, _ = prepared(pictures, near_duplicates="group")
    rows = {row["source"]: (row["digest"], split) for split in SPLITS for row in dataset.iterate(split)}
    assert not dataset.manifest.metadata["small_classes"]
    for name, (digest, split) in rows.items():
        if "-copy" in name:
            other = rows[name.replace("-copy", "")][0]
            place = position(min(digest, other))
            assert split == ("test" if place < 0.25 else "validation" if place < 0.4 else "train")


def test_a_given_split_loses_its_training_copies_of_test_pictures(tmp_path: Path, prepared: Prepare) -> None:
    folder = tmp_path / "given"
    for split, numbers in (("train", range(24)), ("test", range(24, 36))):
        for number in numbers:
            save(photo(number), folder / split / "ab"[number % 2] / f"{number:02d}.jpg", quality=95)
    save(photo(24), folder / "train" / "a" / "copy.jpg", quality=60)
    reported, _ = prepared(folder)
    assert splits_of(reported)["train/a/copy.jpg"] != "test"
    grouped, result = prepared(folder, near_duplicates="group")
    assert "train/a/copy.jpg" not in splits_of(grouped)
    (left,) = [record for record in result.quarantine.records() if record["source"] == "train/a/copy.jpg"]
    assert (left["reason"], left["detail"]) == ("near copy in another split", "it has a near copy in the test split")


def test_rows_that_do_not_look_for_copies_are_split_as_ever(pictures: Path, prepared: Prepare) -> None:
    class Plain(ClassificationRows):
        near = None  # type: ignore[assignment]

    dataset, result = prepared(pictures, rows=Plain(), near_duplicates="group")
    assert splits_of(dataset) == splits_of(prepared(pictures)[0])
    assert result.plan.near is None
    assert "near_duplicates" not in dataset.manifest.metadata


def test_another_word_is_refused(pictures: Path, prepared: Prepare) -> None:
    with pytest.raises(UserError, match="near_duplicates"):
        prepared(pictures, near_duplicates="remove")
