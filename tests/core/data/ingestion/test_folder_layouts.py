"""Folders of images as people keep them: which of their folders are classes, splits or wrappers."""

from pathlib import Path

import pytest

from components.core.data.ingestion.sources import quick_look
from components.core.data.ingestion.splits import split_words
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows

IMAGES = ClassificationRows()
ANIMALS = ("cats", "dogs")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def with_classes(*folders: str, classes: tuple[str, ...] = ANIMALS) -> list[str]:
    return [f"{folder}/{name}/{number}.jpg" for folder in folders for name in classes for number in (1, 2)]


def placed(dataset: Path, tmp_path: Path) -> dict[str, tuple[str | None, str | None]]:
    return {item.name: (item.label, item.split) for item in IMAGES.open_source(str(dataset), tmp_path).items()}


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), ("train", "validation", "test")),
        (("training_set", "test_set"), ("train", "test")),
        (("train", "test1"), ("train", "test")),
        (("train_val", "test"), ("train", "test")),
        (("train", "test", "evaluation"), ("train", "test", "validation")),
        (("training", "validation", "evaluation"), ("train", "validation", "test")),
        (("train (1)", "test (1)"), ("train", "test")),
        (("Train", "dev"), ("train", "validation")),
        (("seg_train/seg_train", "seg_test/seg_test"), ("train", "test")),
        (("set/TrainImages", "set/TestImages"), ("train", "test")),
        (("traindata", "testdata"), ("train", "test")),
        (("mytrain", "crossval", "mytest"), ("train", "validation", "test")),
    ],
)
def test_folders_of_splits_are_no_classes_and_give_the_split(
    folders: tuple[str, ...], splits: tuple[str, ...], tmp_path: Path
) -> None:
    data = put(tmp_path / "data", *with_classes(*folders), "set.txt")
    (data / "runs").mkdir()
    assert quick_look(str(data), IMAGES).classes == ANIMALS
    found = placed(data, tmp_path)
    for folder, split in zip(folders, splits, strict=True):
        assert {found[name] for name in with_classes(folder)} == {("cats", split), ("dogs", split)}


def test_splits_inside_of_each_class_are_followed(tmp_path: Path) -> None:
    data = put(tmp_path / "data", *with_classes("cats", "dogs", classes=("train", "test")))
    assert quick_look(str(data), IMAGES).classes == ANIMALS
    assert placed(data, tmp_path)["cats/test/1.jpg"] == ("cats", "test")


def test_folders_inside_of_classes_are_named(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "animal/cat/1.jpg", "animal/dog/1.jpg", "plant/oak/1.jpg", "plant/fir/1.jpg")
    source = IMAGES.open_source(str(data), tmp_path)
    assert source.facts() == {
        "folders inside of classes, not told apart": "animal/cat, animal/dog, plant/fir, plant/oak"
    }


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "train/1.jpg", "bus/1.jpg", "test tube/1.jpg", "car/1.jpg", "ship/1.jpg")
    assert quick_look(str(data), IMAGES).classes == ("bus", "car", "ship", "test tube", "train")


def test_splits_are_found_beside_other_folders_with_pictures(tmp_path: Path) -> None:
    others = ("runs/1.jpg", "docs/1.jpg", "logs/a/1.jpg", "logs/b/1.jpg", "figures/1.jpg")
    data = put(tmp_path / "data", *with_classes("train", "test"), *others)
    assert quick_look(str(data), IMAGES).classes == ANIMALS
    found = placed(data, tmp_path)
    assert found["test/cats/1.jpg"] == ("cats", "test")
    assert {found[name] for name in others} == {(None, None)}


def test_classes_called_train_and_test_with_folders_like_those_of_other_classes_are_no_splits(tmp_path: Path) -> None:
    names = ("train", "test tube", "bus", "car", "ship")
    data = put(tmp_path / "data", *with_classes(*names, classes=("day", "night", "dusk")), "bike/1.jpg")
    with pytest.raises(UserError, match="bus, car, ship, test tube, train hold the same sub-folders"):
        quick_look(str(data), IMAGES)


def test_words_that_merely_contain_the_name_of_a_split_are_none() -> None:
    for name in ("strainer", "valve", "contest", "latest", "interval", "contrail", "device", "medieval"):
        assert split_words(name) == set()


@pytest.mark.parametrize("others", [(), ("docs/1.jpg", "docs/2.jpg", "docs/3.jpg")])
def test_parts_without_telling_names_are_refused_and_not_taken_for_classes(
    others: tuple[str, ...], tmp_path: Path
) -> None:
    data = put(tmp_path / "data", *with_classes("fold1", "fold2"), *others)
    with pytest.raises(UserError, match=r"fold1, fold2 hold the same sub-folders \(cats, dogs\), so it is unclear"):
        quick_look(str(data), IMAGES)


@pytest.mark.parametrize("wrapper", ["PetImages", "train", "data/images"])
def test_the_one_way_down_is_taken(wrapper: str, tmp_path: Path) -> None:
    data = put(tmp_path / "data", *with_classes(wrapper), "README.md")
    assert quick_look(str(data), IMAGES).classes == ANIMALS
    assert placed(data, tmp_path)[f"{wrapper}/cats/1.jpg"] == ("cats", None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["images/1.jpg", "images/2.jpg", "labels.csv"],
            r"the table labels\.csv; to use a table .* give it as the dataset: .*data/labels\.csv",
        ),
        (["train_images/1.jpg", "test_images/2.jpg", "train.csv"], r"the table train\.csv; to use a table"),
        (["trainimages/1.jpg", "testimages/2.jpg", "train.csv"], r"the table train\.csv; to use a table"),
        (["1.jpg", "2.jpg", "labels.csv"], r"the table labels\.csv; to use a table"),
        (
            [*with_classes("data"), "assets/logo.png"],
            r"4 images in folders of data and 1 in assets; give .*/data if its folders are the classes",
        ),
        (
            [*with_classes("train"), "val/images/1.jpg", "val/images/2.jpg", "val/annotations.txt"],
            r"val has the folder images, but other splits have the classes cats, dogs; sort its images into",
        ),
        (["data_batch_1", "data_batch_2"], r"holds files of unknown kinds that may be images, but no class folders"),
        (["train.tar", "val.tar"], r"holds no images \(2 other files\); unpack the \.tar files, then "),
        (["data-0.arrow", "dataset_info.json"], r"write the \.arrow files as Parquet \(datasets: to_parquet\), then "),
        (["x.npz"], r"write the arrays of the \.npz files as Parquet or as image files, then "),
    ],
)
def test_what_lies_beside_or_below_is_said(names: list[str], message: str, tmp_path: Path) -> None:
    data = put(tmp_path / "data", *names)
    with pytest.raises(UserError, match=message) as caught:
        quick_look(str(data), IMAGES)
    assert "\n" not in str(caught.value)


def test_folders_of_systems_and_tools_are_passed_over(tmp_path: Path) -> None:
    noise = ("@eaDir", "$RECYCLE.BIN", "#recycle", "venv", "__MACOSX", "System Volume Information")
    data = put(tmp_path / "data", "cats/1.jpg", "dogs/1.jpg", *(f"{name}/x.jpg" for name in noise))
    put(data, "cats/@eaDir/1.jpg")
    assert set(placed(data, tmp_path)) == {"cats/1.jpg", "dogs/1.jpg"}


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "T\u00fcr/1.jpg", "Tu\u0308r/2.jpg", "Haus/3.jpg")
    assert quick_look(str(data), IMAGES).classes == ("Haus", "T\u00fcr")
    assert {label for label, _ in placed(data, tmp_path).values()} == {"Haus", "T\u00fcr"}


def test_hugging_face_metadata_beside_the_images_is_the_table(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "train/a.jpg", "train/b.jpg", "test/c.jpg")
    (data / "train" / "metadata.csv").write_text("file_name,label\na.jpg,cat\nb.jpg,dog\n")
    (data / "test" / "metadata.csv").write_text("file_name,label\nc.jpg,cat\n")
    assert quick_look(str(data), IMAGES).classes == ("cat", "dog")
    assert placed(data, tmp_path) == {
        "train/a.jpg": ("cat", "train"), "train/b.jpg": ("dog", "train"), "test/c.jpg": ("cat", "test"),
    }  # fmt: skip


def test_metadata_about_something_else_is_no_table_of_labels(tmp_path: Path) -> None:
    data = put(tmp_path / "data", "cats/1.jpg", "dogs/2.jpg")
    for text in ("camera,date\nx,y\n", "file_name,exposure\n1.jpg,3\n"):
        (data / "metadata.csv").write_text(text)
        assert quick_look(str(data), IMAGES).classes == ANIMALS


def test_percent_encoded_uris_name_the_folder(tmp_path: Path) -> None:
    data = put(tmp_path / "my data ü", "cats/1.jpg", "dogs/2.jpg")
    assert quick_look(data.as_uri(), IMAGES).classes == ANIMALS
