from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minisign import KeyPair

from components.core.store import Store, open_store

Trimtab = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, trimtab: Trimtab) -> Store:
    found = open_store(str(tmp_path / "trimtab-out" / "store"))
    found.releases.publish("sorter", "abc", {"model.onnx": b"model"})
    return found


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with `secret` and `public`."""
    pair = KeyPair.generate()
    (tmp_path / "secret").write_bytes(bytes(pair.secret_key))
    (tmp_path / "public").write_bytes(bytes(pair.public_key))
    return tmp_path


@pytest.mark.usefixtures("store")
def test_a_release_is_signed_and_verified(trimtab: Trimtab, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = trimtab("verify", "sorter")
    assert said.code == 0
    assert "signature  there is none; not checked" in said.out
    monkeypatch.setenv("TRIMTAB_SIGNING_KEY", str(keys / "secret"))
    assert trimtab("sign", "abc").out == "signed sorter/abc\n"
    assert "there is one; not checked" in trimtab("verify", "abc").out
    said = trimtab("verify", "sorter/abc", "--key", str(keys / "public"))
    assert (said.code, said.out.splitlines()) == (
        0,
        [
            "files      1 of 1 have the size and sha256 that release.json says",
            "signature  good, by this key: trimtab release sorter/abc",
        ],
    )


@pytest.mark.usefixtures("store")
def test_what_was_verified_is_copied_to_a_folder(trimtab: Trimtab, keys: Path, tmp_path: Path) -> None:
    trimtab("sign", "abc", "--key", str(keys / "secret"))
    said = trimtab("verify", "abc", "--key", str(keys / "public"), "--to", str(tmp_path / "served"))
    assert said.code == 0
    assert (tmp_path / "served" / "model.onnx").read_bytes() == b"model"


@pytest.mark.usefixtures("store")
def test_a_release_without_the_signature_that_is_asked_for_does_not_pass(trimtab: Trimtab, keys: Path) -> None:
    said = trimtab("verify", "abc", "--key", str(keys / "public"))
    assert said.code == 1
    assert "wrong      sorter/abc is not signed" in said.out


def test_a_damaged_release_is_not_signed_and_does_not_verify(trimtab: Trimtab, store: Store, keys: Path) -> None:
    Path(store.uri.removeprefix("file://"), "releases/sorter/abc/model.onnx").write_bytes(b"other")
    said = trimtab("sign", "abc", "--key", str(keys / "secret"))
    assert said.code == 2
    assert "the release cannot be signed" in said.err
    assert store.releases.signature("sorter", "abc") is None
    said = trimtab("verify", "abc")
    assert said.code == 1
    assert "wrong      " in said.out


@pytest.mark.usefixtures("store")
def test_without_a_key_or_a_release_one_line_says_what_would_work(trimtab: Trimtab, keys: Path) -> None:
    said = trimtab("sign", "abc")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "give --key FILE or $TRIMTAB_SIGNING_KEY" in said.err
    said = trimtab("sign", "nothing", "--key", str(keys / "secret"))
    assert said.code == 2
    assert "give one as NAME/VERSION: sorter/abc" in said.err
