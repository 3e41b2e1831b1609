from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.core.errors import UserError
from components.core.store.names import check_digest, check_key, check_name, check_path

segments = st.text(st.sampled_from("./\\ aZ_+-0é\x00\n\ud800"), max_size=8)


def accepted(check: object, *args: object, **keywords: object) -> bool:
    assert callable(check)
    try:
        check(*args, **keywords)
    except UserError as error:
        message = str(error)
    else:
        return True
    assert len(message.splitlines()) == 1
    assert message.encode()  # a message that cannot be printed is no message
    return False


@given(st.lists(segments, max_size=4).map("/".join))
@example("a/..")
@example("..")
@example("/")
@example("a//b")
@example("a/")
@example("C:\\a")
def test_an_accepted_key_stays_inside_any_folder_and_has_one_spelling(key: str) -> None:
    if accepted(check_key, key):
        root = Path("/srv/of/the/store")
        assert (root / key).resolve().is_relative_to(root)
        assert (root / key) != root
        assert PurePosixPath(key).as_posix() == key
        assert not any(part.startswith(".") for part in PurePosixPath(key).parts)
        assert key.isprintable() or " " in key


@given(segments)
def test_an_accepted_name_is_one_plain_word(name: str) -> None:
    if accepted(check_name, name, what="name"):
        assert accepted(check_key, name)
        assert "/" not in name
        assert name.isascii()
        assert " " not in name
        assert name[0] not in "-+."


@given(st.lists(segments, max_size=4).map("/".join))
def test_an_accepted_path_is_names_and_a_key(path: str) -> None:
    if accepted(check_path, path, what="path"):
        assert accepted(check_key, path)
        assert all(accepted(check_name, name, what="name") for name in path.split("/"))


@pytest.mark.parametrize("name", ["model.onnx", "_a", "0", "1.2.3+cpu", "a" * 200, "data-prep", "A_b"])
def test_a_plain_name_passes_every_check(name: str) -> None:
    assert check_name(name, what="name") == check_path(name, what="path") == check_key(name) == name
    assert check_path(f"{name}/{name}", what="path") == f"{name}/{name}"


def test_a_key_may_hold_spaces_and_letters_of_any_language() -> None:
    assert check_key("Müller & Söhne/数据 (1).jpg")


@pytest.mark.parametrize("key", ["a" * 201, "/".join(["a" * 100] * 10), "é" * 101, "a" * 5000])
def test_a_key_that_some_store_could_not_hold_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="longer than") as caught:
        check_key(key)
    assert len(str(caught.value)) < 250


@given(st.text(st.sampled_from("0123456789abcdefABCDEFg\n"), min_size=60, max_size=66))
@example("0" * 64 + "\n")
def test_a_digest_is_64_lower_case_hexadecimal_characters(digest: str) -> None:
    assert accepted(check_digest, digest) == (len(digest) == 64 and set(digest) <= set("0123456789abcdef"))
