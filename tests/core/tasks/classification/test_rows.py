"""Rows of labelled images: from an item to what is stored."""

import hashlib
from collections.abc import Callable

import pytest

from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import UnreadableError
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows

Picture = Callable[..., bytes]
ROWS = ClassificationRows()


def item(data: bytes, *, label: str | None = "a", size: int | None = None) -> Item:
    return Item(name="x.jpg", label=label, size=size, read=lambda limit: data[: limit + 1])


def test_a_usable_item_carries_its_bytes_and_digest(picture: Picture) -> None:
    result = ROWS.inspect(item(picture(0)), max_bytes=10**6)
    assert result.rejection is None
    assert result.row["image"] == picture(0)
    assert result.row["digest"] == hashlib.sha256(picture(0)).hexdigest()
    assert (result.row["label"], result.classes) == ("a", ("a",))


def test_too_many_bytes_are_refused_whether_the_size_is_known_or_not(picture: Picture) -> None:
    data = picture(0)
    assert ROWS.inspect(item(data), max_bytes=len(data)).rejection is None
    for size in (None, len(data)):
        rejection = ROWS.inspect(item(data, size=size), max_bytes=len(data) - 1).rejection
        assert rejection is not None
        assert rejection.reason == "oversized"


def test_a_known_size_over_the_limit_is_not_read() -> None:
    def fail(limit: int) -> bytes:
        raise AssertionError("read")

    too_large = Item(name="x", label="a", size=100, read=fail)
    assert ROWS.inspect(too_large, max_bytes=99).rejection == Rejection("oversized", "0.0 MB; the limit is 9.9e-05 MB")
    unlabelled = Item(name="x", label=None, size=1, read=fail)
    assert ROWS.inspect(unlabelled, max_bytes=99).rejection == Rejection("unlabelled", "no class folder or label")


def test_a_missing_file_is_unreadable_and_a_source_s_own_reason_stays() -> None:
    def missing(limit: int) -> bytes:
        raise UnreadableError("no such file")

    assert ROWS.inspect(Item(name="x", label="a", read=missing), max_bytes=9).rejection == Rejection(
        "unreadable", "no such file"
    )
    own = Rejection("unsupported", "files .txt are not read")
    assert ROWS.inspect(Item(name="x", label=None, read=missing, rejection=own), max_bytes=9).rejection == own


def test_a_refused_image_still_names_its_class_and_a_text_file_does_not() -> None:
    broken = ROWS.inspect(item(b"broken"), max_bytes=99)
    assert (broken.classes, broken.rejection and broken.rejection.reason) == (("a",), "corrupt")
    own = Rejection("unsupported", "files .txt are not read")
    text = ROWS.inspect(Item(name="x", label="a", read=lambda limit: b"", rejection=own), max_bytes=9)
    assert (text.label, text.classes) == ("a", ())


def test_an_image_counts_once_for_its_class_and_its_label_is_the_key() -> None:
    assert ROWS.class_counts({"label": 2}, 4).tolist() == [0, 0, 1, 0]
    assert ROWS.target_key({"label": 2}) == b"\0\0\0\2"
    assert ROWS.finished({"label": "b", "digest": "0"}, {"a": 0, "b": 1}) == {"label": 1, "digest": "0"}


def test_it_knows_its_data_parameters() -> None:
    assert ROWS.with_options({}) is ROWS
    assert ROWS.with_options({"label_column": "x"}).label_column == "x"
    with pytest.raises(UserError, match="unknown data parameter 'ignore_index' for classification; known: image_col"):
        ROWS.with_options({"ignore_index": 0})


def test_a_models_classes_give_the_order_and_must_be_the_datas() -> None:
    rows = ClassificationRows().with_options({"classes": ["dog", "cat"]})
    assert rows.order_classes({"cat": 3, "dog": 2}, ["cat", "dog"], "photos") == ["dog", "cat"]
    assert ClassificationRows().order_classes({"dog": 2, "cat": 3}, [], "photos") == ["cat", "dog"]
    with pytest.raises(UserError, match=r"dataset photos has 'cow', which the model does not know"):
        rows.order_classes({"cat": 3, "dog": 2, "cow": 1}, [], "photos")
    three = ClassificationRows().with_options({"classes": ["dog", "cat", "cow"]})
    with pytest.raises(UserError, match=r"dataset photos has no images of 'dog', which the model predicts"):
        three.order_classes({"cat": 3, "cow": 2}, [], "photos")
