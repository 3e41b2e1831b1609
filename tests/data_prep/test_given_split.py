"""A split that the data come with, groups, and classes of which too little is left."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from components.core.artifacts.manifest import read_file
from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import Prepared, prepare
from components.data_prep.settings import Settings

Picture = Callable[..., bytes]
Prepare = Callable[..., tuple[Dataset, Prepared]]
NAMES = ("cats", "dogs")


@pytest.fixture
def prepared(tmp_path: Path, store: Store) -> Prepare:
    def run(dataset: Path, options: dict | None = None, **changes: object) -> tuple[Dataset, Prepared]:
        rows = ClassificationRows(**(options or {}))
        result = prepare(Settings(rows=rows, dataset=str(dataset), **changes), tmp_path / "out", store)  # type: ignore[arg-type]
        return open_dataset(tmp_path / "out", store), result

    return run


def split_by_source(dataset: Dataset) -> dict[str, str]:
    return {row["source"]: split for split in SPLITS for row in dataset.iterate(split)}


@pytest.fixture
def folders(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Folders of splits, with so many pictures of cats and dogs each; all different."""

    def make(**counts: int) -> Path:
        number = 0
        for split, count in counts.items():
            for name in NAMES:
                (tmp_path / "data" / split / name).mkdir(parents=True)
                for own in range(count):
                    (tmp_path / "data" / split / name / f"{own:02d}.jpg").write_bytes(picture(number))
                    number += 1
        return tmp_path / "data"

    return make


def test_folders_of_splits_are_followed_and_a_missing_part_is_cut_from_training(
    folders: Callable[..., Path], prepared: Prepare
) -> None:
    dataset, _ = prepared(folders(train=12, test=3))
    found = split_by_source(dataset)
    assert {split for source, split in found.items() if source.startswith("test/")} == {"test"}
    assert {split for source, split in found.items() if source.startswith("train/")} == {"train", "validation"}
    assert dataset.counts["test"] == 6
    assert min(dataset.class_counts["validation"]) >= 1
    assert dataset.manifest.metadata["split"] == {
        "from": "the folders test, train", "cut_from_train": ["validation"], "duplicates_across": 0,
    }  # fmt: skip


def test_a_whole_given_split_is_taken_as_it_is(folders: Callable[..., Path], prepared: Prepare) -> None:
    dataset, result = prepared(folders(train=2, val=1, test=1))
    names = {"train": "train", "val": "validation", "test": "test"}
    assert {names[source.split("/")[0]] == split for source, split in split_by_source(dataset).items()} == {True}
    assert (dataset.counts, result.plan.small_classes) == ({"train": 4, "validation": 2, "test": 2}, [])


def test_by_content_the_given_split_is_ignored(folders: Callable[..., Path], prepared: Prepare) -> None:
    dataset, _ = prepared(folders(train=12, test=12), split="content")
    assert "split" not in dataset.manifest.metadata
    assert {split for source, split in split_by_source(dataset).items() if source.startswith("test/")} == set(SPLITS)


def test_copies_across_a_given_split_are_dropped_from_training_and_reported(
    folders: Callable[..., Path], prepared: Prepare, store: Store
) -> None:
    data = folders(train=8, test=3)
    (data / "train" / "cats" / "a_copy.jpg").write_bytes((data / "test" / "cats" / "01.jpg").read_bytes())
    dataset, result = prepared(data)
    report = json.loads(read_file(dataset.manifest, "quarantine.json", store))
    assert report["duplicates"] == [{"source": "train/cats/a_copy.jpg", "kept": "test/cats/01.jpg"}]
    assert dataset.manifest.metadata["split"]["duplicates_across"] == 1
    assert [warning.title for warning in result.warnings] == ["Copies across the given split"]
    assert dataset.counts["test"] == 6


def table_of(folder: Path, picture: Picture, header: str, lines: list[str]) -> Path:
    for number in range(len(lines)):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(picture(number))
    rows = [f"{number}.jpg,{line}" for number, line in enumerate(lines)]
    (folder / "list.csv").write_text("\n".join([f"path,{header}", *rows]) + "\n")
    return folder / "list.csv"


def test_a_column_of_splits_is_followed(tmp_path: Path, picture: Picture, prepared: Prepare) -> None:
    splits = ["train"] * 6 + ["dev"] * 2 + ["test"] * 4
    lines = [f"{NAMES[number % 2]},{split}" for number, split in enumerate(splits)]
    dataset, _ = prepared(table_of(tmp_path / "t", picture, "label,split", lines))
    assert dataset.counts == {"train": 6, "validation": 2, "test": 4}
    assert dataset.manifest.metadata["split"]["from"] == "the column 'split'"


def test_words_that_are_no_split_and_a_split_that_is_not_there_are_refused(
    tmp_path: Path, picture: Picture, prepared: Prepare
) -> None:
    folds = table_of(tmp_path / "t", picture, "label,split", [f"{NAMES[n % 2]},fold{n % 3}" for n in range(24)])
    with pytest.raises(UserError, match="the column 'split' says 'fold0', which is neither train, validation nor test"):
        prepared(folds)
    dataset, _ = prepared(folds, split="content")
    assert sum(dataset.counts.values()) == 24
    plain = table_of(tmp_path / "u", picture, "label", [NAMES[n % 2] for n in range(24)])
    with pytest.raises(UserError, match=r"split=given needs a dataset that comes with a split, and .* has none"):
        prepared(plain, split="given")


def test_a_group_stays_on_one_side(tmp_path: Path, picture: Picture, prepared: Prepare) -> None:
    lines = [f"{NAMES[number % 2]},patient{number // 4}" for number in range(48)]
    dataset, _ = prepared(table_of(tmp_path / "t", picture, "label,patient", lines), {"group_column": "patient"})
    split_of_group: dict[int, set[str]] = {}
    for source, split in split_by_source(dataset).items():
        split_of_group.setdefault(int(Path(source).stem) // 4, set()).add(split)
    assert all(len(splits) == 1 for splits in split_of_group.values())
    assert all(dataset.counts[split] for split in SPLITS)


def test_the_data_set_says_which_test_rows_stay_together(tmp_path: Path, picture: Picture, prepared: Prepare) -> None:
    patients = [f"patient{number // 4}" if number < 40 else "" for number in range(60)]
    lines = [f"{NAMES[number % 2]},{patient}" for number, patient in enumerate(patients)]
    dataset, _ = prepared(table_of(tmp_path / "t", picture, "label,patient", lines), {"group_column": "patient"})
    test = {row["digest"]: patients[int(Path(row["source"]).stem)] for row in dataset.iterate("test")}
    named = {digest: patient for digest, patient in test.items() if patient}
    assert 0 < len(named) < len(test)
    assert dataset.group_keys() == {
        digest: sha256(f"group\0{patient}".encode()).hexdigest() for digest, patient in named.items()
    }
    plain, _ = prepared(table_of(tmp_path / "u", picture, "label", [NAMES[number % 2] for number in range(48)]))
    assert plain.group_keys() == {}
    assert [entry.path for entry in plain.manifest.files if entry.path.endswith(".json")] == ["quarantine.json"]


def test_few_groups_that_share_classes_are_split_whole(tmp_path: Path, picture: Picture, prepared: Prepare) -> None:
    lines = [f"{NAMES[number % 2]},scene{number // 4}" for number in range(12)]
    dataset, _ = prepared(table_of(tmp_path / "t", picture, "label,scene", lines), {"group_column": "scene"})
    assert dataset.counts == {"train": 4, "validation": 4, "test": 4}


def test_a_group_across_a_given_split_is_dropped_from_training(
    tmp_path: Path, picture: Picture, prepared: Prepare
) -> None:
    lines = [f"{NAMES[n % 2]},{'test' if n in (0, 1, 10, 11) else 'train'},p{n // 2}" for n in range(10)]
    lines += ["cats,test,p1", "dogs,test,p1"]
    table = table_of(tmp_path / "t", picture, "label,split,patient", lines)
    dataset, result = prepared(table, {"group_column": "patient"})
    assert result.quarantine.counts == {"group in two splits": 2}
    assert {source for source, split in split_by_source(dataset).items() if split == "test"} == {
        "0.jpg", "1.jpg", "10.jpg", "11.jpg",
    }  # fmt: skip
    assert "2.jpg" not in split_by_source(dataset)


def test_a_class_that_is_lost_is_refused_or_left_out_with_a_warning(
    twenty_jpegs: Path, picture: Picture, prepared: Prepare
) -> None:
    (twenty_jpegs / "birds").mkdir()
    (twenty_jpegs / "fish").mkdir()
    for number in range(3):
        (twenty_jpegs / "fish" / f"{number}.heic").write_bytes(b"....ftypheic" + bytes([number]))
    with pytest.raises(
        UserError, match=r"class 'birds' has 0 usable images; .*; quarantined: 1 empty folder; rare_cla"
    ):
        prepared(twenty_jpegs)
    dataset, result = prepared(twenty_jpegs, rare_classes="leave_out")
    assert dataset.classes == ["cats", "dogs"]
    assert dataset.manifest.metadata["left_out_classes"] == {"birds": 0, "fish": 0}
    assert result.warnings[0].text == "Too few usable images: class 'birds' (0), class 'fish' (0)."
    assert result.quarantine.counts["empty folder"] == 1


def test_a_class_of_pictures_that_are_not_read_is_refused_and_a_folder_of_notes_is_warned_of(
    twenty_jpegs: Path, prepared: Prepare
) -> None:
    for name in ("notes/1.txt", "notes/2.pdf", "birds/1.svg", "birds/2.dng"):
        (twenty_jpegs / name).parent.mkdir(exist_ok=True)
        (twenty_jpegs / name).write_bytes(b"<svg/> " + name.encode())
    with pytest.raises(UserError, match=r"class 'birds' has 0 usable images; .*; quarantined: 2 unsupported; rare_cla"):
        prepared(twenty_jpegs)
    dataset, result = prepared(twenty_jpegs, rare_classes="leave_out")
    assert dataset.classes == ["cats", "dogs"]
    assert [(warning.title, warning.text) for warning in result.warnings] == [
        ("Classes left out", "Too few usable images: class 'birds' (0)."),
        ("Folders without images", "None of the files of 'notes' (2) can be used, so they are no classes."),
    ]


def test_links_that_lead_nowhere_and_odd_files_are_in_the_quarantine(
    twenty_jpegs: Path, picture: Picture, prepared: Prepare
) -> None:
    (twenty_jpegs / "cats" / "gone.jpg").symlink_to(twenty_jpegs / "nowhere.jpg")
    for number, name in enumerate(("cats/plain", "cats/a.jfif", "dogs/b.img")):
        (twenty_jpegs / name).write_bytes(picture(100 + number))
    (twenty_jpegs / "dogs" / "c.ppm").write_bytes(picture(200, "PPM"))
    (twenty_jpegs / "dogs" / "README").write_text("hello")
    dataset, result = prepared(twenty_jpegs)
    left_out = {record["source"]: record["reason"] for record in result.quarantine.records()}
    assert left_out["cats/gone.jpg"] == "unreadable"
    assert left_out["dogs/README"] == "unsupported"
    assert {"cats/plain", "cats/a.jfif", "dogs/b.img", "dogs/c.ppm"} <= set(split_by_source(dataset))


def test_classes_that_look_like_others_are_warned_of(tmp_path: Path, picture: Picture, prepared: Prepare) -> None:
    lines = [("Bag", "bag", "shoe", "bag|shoe")[number % 4] for number in range(32)]
    dataset, result = prepared(table_of(tmp_path / "t", picture, "label", lines))
    assert dataset.classes == ["Bag", "bag", "bag|shoe", "shoe"]
    assert [warning.text for warning in result.warnings[:2]] == [
        "'Bag', 'bag' count as different classes; rename one if not.",
        "1 of 4 classes look like several labels in one: bag|shoe. Each counts as a class of its own; give one label a "
        "row if that is not meant.",
    ]
