"""Documents of tasks in the store, by a hostile writer: the next task reads them, or refuses them in one line.

Each value of each document is taken out, and replaced by values of every kind.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_documents import DOCUMENTS, damaged

from components.core.artifacts import manifest
from components.core.errors import UserError


def refusal(read: Callable[[Any, Path], None], document: Any, folder: Path) -> str:
    """The message of a refusal, or nothing; everything else that is raised passes."""
    try:
        read(document, folder)
    except UserError as error:
        return str(error)
    return ""


NAMES = pytest.mark.parametrize("name", DOCUMENTS)


@NAMES
def test_a_whole_document_is_read(name: str, tmp_path: Path) -> None:
    document, read = DOCUMENTS[name]
    read(document, tmp_path)


@NAMES
def test_a_document_that_is_changed_anywhere_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    document, read = DOCUMENTS[name]
    outcomes = {"read": 0, "refused": 0}
    for changed in damaged(document):
        said = refusal(read, changed, tmp_path)
        assert len(said) < 3000
        assert said.isprintable()
        outcomes["refused" if said else "read"] += 1
    assert min(outcomes.values()) > 5, outcomes


WRONG: list[tuple[Any, str]] = [
    (b"[" * 100_000, "is not JSON"),
    (b'{"a": ' * 300 + b"1" + b"}" * 300, "is not JSON: it is nested more than 200 deep"),
    (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
    (b"\xff\xfe", "is not JSON"),
    (b"", "is not JSON"),
    ([], "must hold an object, got list"),
    (5, "must hold an object, got int"),
    ({}, "cannot be read: the document has no '"),
]


@NAMES
@pytest.mark.parametrize(("content", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_such_document_is_one_line(name: str, content: Any, said: str, tmp_path: Path) -> None:
    if (name, content) == ("released judgement", {}):
        return  # an earlier release's, which names no anchor
    with pytest.raises(UserError, match=said) as refused:
        DOCUMENTS[name][1](content, tmp_path)
    assert len(str(refused.value)) < 500


@NAMES
def test_a_document_of_megabytes_is_refused_unread(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest.read_document, "__kwdefaults__", {"most_bytes": 1000})
    document, read = DOCUMENTS[name]
    with pytest.raises(UserError, match=r"has 1,\d{3},\d{3} bytes; at most 1,000 are read"):
        read({**document, "more": "x" * 1_000_000}, tmp_path)
