"""Slices through the preparation: into the shards, the counts and the page, and over shards of an earlier data set."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

IMAGES = ClassificationRows()

Lines = list[dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path, picture: Callable[..., bytes]) -> Callable[..., Path]:
    """Images and their table, at one place whatever is in it: where a row came from is part of a shard."""

    def table(lines: Lines) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for line in lines:
            (folder / line["path"]).write_bytes(picture(int(line["path"].partition(".")[0]), "PNG"))
        rows = [",".join(lines[0])] + [",".join(line.values()) for line in lines]
        (folder / "list.csv").write_text("\n".join(rows) + "\n")
        return folder / "list.csv"

    return table


def lines(first: int, count: int, cameras: tuple[str, ...] = ("day", "night", "")) -> Lines:
    """Rows of two classes; `kind` repeats the camera under another name."""
    made = []
    for number in range(first, first + count):
        camera = cameras[number % len(cameras)]
        row = {"path": f"{number}.png", "label": "ab"[number % 2], "camera": camera, "source": f"shop {number % 2}"}
        made.append(row | {"kind": camera})
    return made


def prepared(table: Path, store: Store, name: str, previous: Dataset | None = None, **asked: Any) -> Dataset:
    prepare(Settings(rows=IMAGES, dataset=str(table), **asked), table.parents[1] / name, store, previous=previous)
    return open_dataset(table.parents[1] / name, store)


def shards(dataset: Dataset) -> set[str]:
    return {entry.sha256 for entry in dataset.manifest.files if entry.path.endswith(".parquet")}


def camera_of(dataset: Dataset) -> dict[str, str | None]:
    rows = [row for split in SPLITS for row in dataset.iterate(split, columns=("source", "slice:camera"))]
    return {row["source"]: row["slice:camera"] for row in rows}


def test_each_row_keeps_its_slices_and_the_data_set_counts_them(write, store):
    made = lines(0, 60)
    dataset = prepared(write(made), store, "out", slice_columns="source,camera")
    assert camera_of(dataset) == {line["path"]: line["camera"] or None for line in made}
    assert list(dataset.slices) == ["camera", "source"]
    total = {value: sum(counts.values()) for value, counts in dataset.slices["camera"].items()}
    assert total == {"day": 20, "night": 20}
    nights = [row for row in dataset.iterate("test") if row["slice:camera"] == "night"]
    assert dataset.slices["camera"]["night"]["test"] == len(nights) > 0


def test_without_slices_a_table_with_more_columns_gives_the_same_artifact(write, store):
    more = prepared(write(lines(0, 40)), store, "more")
    less = prepared(write([{key: line[key] for key in ("path", "label")} for line in lines(0, 40)]), store, "less")
    assert more.manifest.digest == less.manifest.digest
    assert "slices" not in more.manifest.metadata
    assert list(next(more.iterate("train"))) == ["image", "label", "digest", "source"]


def test_slices_change_neither_the_fingerprint_nor_what_is_in_a_split(write, store):
    table = write(lines(0, 40))
    plain, sliced = prepared(table, store, "plain"), prepared(table, store, "sliced", slice_columns="camera")
    assert sliced.fingerprint == plain.fingerprint
    assert (sliced.counts, sliced.class_counts) == (plain.counts, plain.class_counts)


def test_the_order_of_the_columns_and_of_the_rows_makes_no_other_data_set(write, store):
    # Two rows of one image that disagree on the camera: the same one has to win, whichever comes first.
    made = [*lines(0, 30), {**lines(4, 1)[0], "camera": "dusk"}]
    one = prepared(write(made), store, "one", slice_columns="camera,source")
    two = prepared(write(made[::-1]), store, "two", slice_columns=" source , camera ")
    assert one.manifest.digest == two.manifest.digest


def test_shards_with_the_same_slices_are_taken_over(write, store):
    first = prepared(write(lines(0, 60)), store, "first", slice_columns="camera")
    table = write(lines(0, 80))
    alone = prepared(table, store, "alone", slice_columns="camera")
    second = prepared(table, store, "second", previous=first, slice_columns="camera")
    assert shards(first) < shards(second)
    assert second.slices == alone.slices
    assert camera_of(second) == camera_of(alone)


def test_a_shard_with_a_row_whose_slice_was_corrected_is_written_anew(write, store):
    made = lines(0, 60)
    first = prepared(write(made), store, "first", slice_columns="camera")
    made[7]["camera"] = "dusk"
    second = prepared(write(made), store, "second", previous=first, slice_columns="camera")
    assert camera_of(second)["7.png"] == "dusk"
    assert len(shards(second) & shards(first)) == 2


@pytest.mark.parametrize(
    ("before", "after"), [("", "camera"), ("camera", ""), ("camera", "camera,source"), ("camera", "kind")]
)
def test_shards_of_other_slice_columns_are_written_anew_and_the_data_set_is_whole(write, store, before, after):
    table = write(lines(0, 60))
    first = prepared(table, store, "first", slice_columns=before)
    alone = prepared(table, store, "alone", slice_columns=after)
    second = prepared(table, store, "second", previous=first, slice_columns=after)
    assert second.manifest.digest == alone.manifest.digest
    assert not shards(first) & shards(second)
    columns = [name for name in next(second.iterate("train")) if name.startswith("slice:")]
    assert columns == [f"slice:{name}" for name in after.split(",") if name]


def test_a_column_that_only_tells_apart_what_is_used_is_refused(write, store):
    made = [{**line, "camera": f"c{number}"} for number, line in enumerate(lines(0, 101))]
    with pytest.raises(UserError, match="slice column 'camera' has more than 100 values"):
        prepared(write(made), store, "out", slice_columns="camera")


def test_a_column_that_no_usable_row_fills_in_is_refused(write, store):
    table = write(lines(0, 20, cameras=("",)))
    table.write_text(table.read_text() + "missing.png,a,night,shop\n")
    with pytest.raises(UserError, match="slice column 'camera' is empty in every usable row"):
        prepared(table, store, "out", slice_columns="camera")


def test_the_page_counts_the_images_of_each_slice_and_escapes_their_names(write, store, tmp_path, monkeypatch):
    from components.data_prep.component import data_prep

    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    data_prep.python_func(
        dataset=str(write(lines(0, 60, cameras=("<script>alert(1)</script>", "day", "")))),
        task="classification",
        validation_fraction=0.15,
        test_fraction=0.25,
        max_image_mb=20.0,
        slice_columns="camera",
        prepared=SimpleNamespace(path=str(tmp_path / "out"), metadata={}),
        metrics=SimpleNamespace(log_metric=lambda name, value: None),
        page=SimpleNamespace(path=str(tmp_path / "page.html")),
    )
    html = (tmp_path / "page.html").read_text()
    assert "camera=&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html
    assert "of 60 images 20 have no camera" in html
