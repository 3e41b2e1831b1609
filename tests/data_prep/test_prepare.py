"""From a folder or table to the dataset artifact."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.artifacts.manifest import read_file
from components.core.data import collect, spill
from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings
from components.data_prep.splitting import split_of

IMAGES = ClassificationRows()

Picture = Callable[..., bytes]
BROKEN = {"cats/03.jpg": "truncated", "dogs/04.jpg": "truncated", "dogs/08.jpg": "corrupt"}


def prepared(folder: Path, store: Store, out: Path, **changes: object) -> Dataset:
    prepare(Settings(rows=IMAGES, dataset=str(folder), **changes), out, store)  # type: ignore[arg-type]
    return open_dataset(out, store)


def split_by_source(dataset: Dataset) -> dict[str, str]:
    return {row["source"]: split for split in SPLITS for row in dataset.iterate(split)}


def quarantine_of(dataset: Dataset, store: Store) -> dict:
    return json.loads(read_file(dataset.manifest, "quarantine.json", store))


def test_twenty_jpegs_with_three_broken_run_and_name_the_three(
    twenty_jpegs: Path, tmp_path: Path, store: Store
) -> None:
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    report = quarantine_of(dataset, store)
    assert {file["source"]: file["reason"] for file in report["files"]} == BROKEN
    assert dataset.manifest.metadata["quarantined"] == {"corrupt": 1, "truncated": 2}
    assert sum(dataset.counts.values()) == 17
    assert dataset.classes == ["cats", "dogs"]
    for split in SPLITS:
        assert min(dataset.class_counts[split]) >= 1, f"a class has no image in {split}"


def test_images_stay_as_they_were_encoded(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    for split in SPLITS:
        for row in dataset.iterate(split):
            assert row["image"] == (twenty_jpegs / row["source"]).read_bytes()
            assert dataset.classes[row["label"]] == row["source"].split("/")[0]


def test_no_machine_path_gets_into_the_artifact(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    everything = (tmp_path / "out" / "manifest.json").read_text() + json.dumps(quarantine_of(dataset, store))
    everything += str([row["source"] for split in SPLITS for row in dataset.iterate(split)])
    assert str(tmp_path) not in everything
    assert "/tmp" not in everything


def test_a_copy_elsewhere_gives_the_same_artifact(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    shutil.copytree(twenty_jpegs, tmp_path / "copy")
    first = prepared(twenty_jpegs, store, tmp_path / "out")
    assert prepared(tmp_path / "copy", store, tmp_path / "other").manifest == first.manifest


def test_the_order_of_listing_does_not_matter(
    twenty_jpegs: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (twenty_jpegs / "cats" / "copy.jpg").write_bytes((twenty_jpegs / "cats" / "01.jpg").read_bytes())
    first = prepared(twenty_jpegs, store, tmp_path / "out")
    inspected = collect._inspected

    def shuffled(items: object, *rest: object) -> object:
        listed = list(items)  # type: ignore[call-overload]
        random.Random(1).shuffle(listed)
        return inspected(iter(listed), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(collect, "_inspected", shuffled)
    monkeypatch.setattr(spill, "BUFFER_BYTES", 2000)  # many writes to each bucket
    assert prepared(twenty_jpegs, store, tmp_path / "other").manifest == first.manifest


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 60 tiny images."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("many")
    for number in range(120):
        path = folder / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2), (number, number // 2, 7)).save(path)
    return folder


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(added=st.sets(st.integers(60, 119), max_size=60))
def test_adding_data_never_moves_a_sample(added: set[int], many: Path, tmp_path: Path, store: Store) -> None:
    files = sorted(many.rglob("*.png"), key=lambda path: path.name)
    placed = []
    for name, numbers in (("before", range(60)), ("after", [*range(60), *added])):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        for number in numbers:
            target = tmp_path / name / files[number].relative_to(many)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(files[number])
        dataset = prepared(tmp_path / name, store, tmp_path / f"{name}-out")
        assert dataset.manifest.metadata["small_classes"] == []
        placed.append(split_by_source(dataset))
    before, after = placed
    assert {source: after[source] for source in before} == before
    assert len(after) == 60 + len(added)


def test_rows_lie_in_the_order_of_their_digests_in_the_split_of_their_content(
    many: Path, tmp_path: Path, store: Store
) -> None:
    chosen = Settings(rows=IMAGES, dataset=str(many))
    dataset = prepared(many, store, tmp_path / "out")
    for split in SPLITS:
        digests = [row["digest"] for row in dataset.iterate(split)]
        assert digests == sorted(digests)
        assert {split_of(digest, chosen.fractions) for digest in digests} == {split}


def test_of_exact_copies_one_is_kept_and_the_others_are_listed(
    twenty_jpegs: Path, tmp_path: Path, store: Store
) -> None:
    data = (twenty_jpegs / "cats" / "01.jpg").read_bytes()
    for name in ("00.jpg", "zz.jpg"):
        (twenty_jpegs / "cats" / name).write_bytes(data)
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    assert quarantine_of(dataset, store)["duplicates"] == [
        {"source": "cats/01.jpg", "kept": "cats/00.jpg"},
        {"source": "cats/zz.jpg", "kept": "cats/00.jpg"},
    ]
    assert sum(dataset.counts.values()) == 17
    assert dataset.manifest.metadata["duplicates"] == 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_label_too_long_for_a_class_is_that_rows_fault_alone(
    kind: str, twenty_jpegs: Path, tmp_path: Path, store: Store
) -> None:
    files = sorted(path.relative_to(twenty_jpegs).as_posix() for path in twenty_jpegs.glob("*/*.jpg"))
    rows = [(name, "x" * 5_000_000 if name == "cats/01.jpg" else name[:4]) for name in files]
    if kind == "csv":
        text = "path,label\n" + "".join(f"{name},{label}\n" for name, label in rows if len(label) < 100_000)
        text += f"cats/01.jpg,{'x' * 100_000}\n"
    else:
        text = "".join(json.dumps({"path": name, "label": label}) + "\n" for name, label in rows)
    (twenty_jpegs / f"table.{kind}").write_text(text)
    dataset = prepared(twenty_jpegs / f"table.{kind}", store, tmp_path / "out")
    assert dataset.classes == ["cats", "dogs"]
    (fault,) = [file for file in quarantine_of(dataset, store)["files"] if file["source"] not in BROKEN]
    assert "its label has" in fault["detail"]
    assert len(json.dumps(fault)) < 300


def test_copies_under_different_labels_are_all_quarantined(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    (twenty_jpegs / "dogs" / "twin.jpg").write_bytes((twenty_jpegs / "cats" / "01.jpg").read_bytes())
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    conflicts = [file for file in quarantine_of(dataset, store)["files"] if file["reason"] == "conflicting labels"]
    assert [(file["source"], file["detail"]) for file in conflicts] == [
        ("cats/01.jpg", "same bytes as dogs/twin.jpg (dogs)"),
        ("dogs/twin.jpg", "same bytes as cats/01.jpg (cats)"),
    ]
    assert sum(dataset.counts.values()) == 16


def test_each_kind_of_unusable_file_has_its_reason(
    twenty_jpegs: Path, tmp_path: Path, store: Store, picture: Picture
) -> None:
    (twenty_jpegs / "loose.jpg").write_bytes(picture(100))
    (twenty_jpegs / "cats" / "notes.txt").write_text("hello")
    (twenty_jpegs / "cats" / "huge.bmp").write_bytes(picture(101, "BMP", (200, 200)))
    dataset = prepared(twenty_jpegs, store, tmp_path / "out", max_image_mb=0.1)
    found = {file["source"]: file["reason"] for file in quarantine_of(dataset, store)["files"]}
    assert found == {
        **BROKEN,
        "loose.jpg": "unlabelled",
        "cats/notes.txt": "unsupported",
        "cats/huge.bmp": "oversized",
    }


def test_numbered_classes_are_ordered_by_value(many: Path, tmp_path: Path, store: Store) -> None:
    files = sorted(many.rglob("*.png"))
    rows = "".join(f"{path},{(9, 10, 2)[number % 3]}\n" for number, path in enumerate(files))
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    found = prepared(tmp_path / "list.csv", store, tmp_path / "out", allow_paths=[str(many)])
    assert found.classes == ["2", "9", "10"]


def test_a_file_name_that_is_not_unicode_is_no_obstacle(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    odd = bytes(twenty_jpegs / "cats") + b"/\xff.jpg"
    Path(odd.decode("utf-8", "surrogateescape")).write_bytes((twenty_jpegs / "cats" / "01.jpg").read_bytes())
    (twenty_jpegs / "cats" / "01.jpg").unlink()
    dataset = prepared(twenty_jpegs, store, tmp_path / "out")
    assert "cats/\\udcff.jpg" in split_by_source(dataset)


def test_a_class_of_which_nothing_is_usable_is_named(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    (twenty_jpegs / "birds").mkdir()
    (twenty_jpegs / "birds" / "1.jpg").write_bytes(b"broken")
    with pytest.raises(UserError, match="class 'birds' has 0 usable images; it needs at least 3"):
        prepared(twenty_jpegs, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_notes_is_no_class(twenty_jpegs: Path, tmp_path: Path, store: Store) -> None:
    (twenty_jpegs / "notes").mkdir()
    (twenty_jpegs / "notes" / "readme.txt").write_text("hello")
    assert prepared(twenty_jpegs, store, tmp_path / "out").classes == ["cats", "dogs"]


def test_no_usable_image_at_all_is_said_with_the_reasons(tmp_path: Path, store: Store) -> None:
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"no usable image: 2 truncated; first: a/1\.jpg: the file is empty"):
        prepared(tmp_path / "in", store, tmp_path / "out")


def table_of(folder: Path, names: list[str], table: str = "labels.csv") -> Path:
    """A table in `folder` whose rows name these files, with their folder's name as label."""
    path = folder / table
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("label,path\n" + "".join(f"{'ab'[number % 2]},{name}\n" for number, name in enumerate(names)))
    return path


@pytest.mark.parametrize(
    ("named", "lies", "said"),
    [
        (
            "{}.jpg",
            "images/{}.jpg",
            "'0.jpg', which lies in images/: write images/0.jpg, or move the table into images/",
        ),
        (
            "x/{}.jpg",
            "data/x/{}.jpg",
            "'x/0.jpg', which lies in data/: write data/x/0.jpg, or move the table into data/",
        ),
        ("images/{}.jpg", "{}.jpg", "'images/0.jpg', but the file is '0.jpg': name files relative to the table's"),
        ("{}", "images/{}.jpg", "'0', but the file is 'images/0.jpg': name files relative"),
    ],
)
def test_a_table_that_names_files_without_their_folder_is_told_what_to_write(
    tmp_path: Path, store: Store, picture: Picture, named: str, lies: str, said: str
) -> None:
    for number in range(4):
        path = tmp_path / "in" / lies.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    table = table_of(tmp_path / "in", [named.format(number) for number in range(4)])
    with pytest.raises(UserError, match="no usable image: 4 unreadable") as refused:
        prepared(table, store, tmp_path / "out")
    assert f"; the table's rows name {said}" in str(refused.value)


def test_a_table_whose_files_are_nowhere_is_told_no_more_than_that(tmp_path: Path, store: Store) -> None:
    table = table_of(tmp_path / "in", ["0.jpg", "1.jpg"])
    with pytest.raises(UserError, match=r"no usable image: 2 unreadable; first: 0\.jpg: no such file$"):
        prepared(table, store, tmp_path / "out")


def test_a_table_most_of_whose_files_lie_elsewhere_is_warned_of(tmp_path: Path, store: Store, picture: Picture) -> None:
    (tmp_path / "in" / "images").mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(60)]
    for number, name in enumerate(names):
        (tmp_path / "in" / ("images" if number >= 24 else "") / name).write_bytes(picture(number))
    table = table_of(tmp_path / "in", names)
    done = prepare(Settings(rows=IMAGES, dataset=str(table)), tmp_path / "out", store)
    (warning,) = [warning for warning in done.warnings if warning.title == "Most rows lack their file"]
    assert warning.text == (
        "36 rows name a file that is not there, and are left out. The table's rows name '24.jpg', which lies in "
        "images/: write images/24.jpg, or move the table into images/."
    )
    shutil.rmtree(tmp_path / "in" / "images")
    table_of(tmp_path / "in", names[:30])
    done = prepare(Settings(rows=IMAGES, dataset=str(table)), tmp_path / "few", store)
    assert "Most rows lack their file" not in [warning.title for warning in done.warnings]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_image_mb": 0}, "max_image_mb must be greater than 0 and at most 1000; got 0"),
        ({"max_image_mb": float("nan")}, "max_image_mb"),
        ({"test_fraction": 0.9}, "leave 0% of the data for training"),
    ],
)
def test_a_wrong_setting_is_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**{"rows": IMAGES, "dataset": "demo", **change})
