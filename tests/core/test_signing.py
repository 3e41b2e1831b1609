"""Signed releases: what a signature covers, whom it names, and that minisign's own tool would agree."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from minisign import KeyPair, PublicKey, Signature

from components.core.errors import UserError
from components.core.signing import check_signature, public_key, sign_release, signing_key, verify_release
from components.core.store import Damaged, NotFound, Store, open_store
from components.core.store.backends.local_objects import LocalObjects
from components.core.store.backends.objects import Stored

# Made by minisign 0.11: `minisign -G -W`, `minisign -S -m release.json -t 'made by minisign'` over b'{"format": 1}'.
THEIR_PUBLIC_KEY = "RWQg+AaWNgPz632j1jTfIAZsN8vkA6mjcEX9qCzO8ZaLBlLjx662oQ7Y"
THEIR_SECRET_KEY = (
    "untrusted comment: minisign encrypted secret key\n"
    "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIPgGljYD8+uROEcuxPfZ36d78YnmSZX+/NUpWWO7+4OGoCq7"
    "9ei6ZH2j1jTfIAZsN8vkA6mjcEX9qCzO8ZaLBlLjx662oQ7YAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
)
THEIR_SIGNATURE = (
    b"untrusted comment: signature from minisign secret key\n"
    b"RUQg+AaWNgPz6zoX6I/J02qlEJCblf0CMlC0KFjzaMVIsQctdvAAVKdzlyf46+jbsHUMQk/NBOhUGBNAsaxgzH/U2Ml8QDY6XQk=\n"
    b"trusted comment: made by minisign\n"
    b"dME7khETPJVfrZdMFZqqpul0StCiYFIhUHEGTHapPENtJomN5kdh2U6odnoVZIwg8BpaiDemlRRClW7iT8YdAw==\n"
)
MARKER = "releases/sorter/1/release.json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(str(tmp_path / "store"))
    for version in ("1", "2"):
        found.releases.publish("sorter", version, {"model.onnx": b"model " + version.encode(), "card.md": b"# card"})
    return found


@pytest.fixture
def pair() -> KeyPair:
    return KeyPair.generate()


def test_a_signed_release_checks_with_its_public_key_and_no_other(store: Store, pair: KeyPair) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    assert check_signature(store, "sorter", "1", pair.public_key) == "trimtab release sorter/1"
    with pytest.raises(Damaged, match="does not match this key"):
        check_signature(store, "sorter", "1", KeyPair.generate().public_key)
    with pytest.raises(Damaged, match="not signed"):
        check_signature(store, "sorter", "2", pair.public_key)


def test_a_key_with_the_right_identifier_and_other_numbers_does_not_pass(store: Store, pair: KeyPair) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    forged = bytearray(pair.public_key._keynum_pk.public_key)
    other = bytes(KeyPair.generate().public_key._keynum_pk.public_key)
    forged[:] = other
    line = PublicKey.from_bytes(bytes(pair.public_key))
    object.__setattr__(line._keynum_pk, "public_key", bytes(forged))
    with pytest.raises(Damaged, match="does not match this key"):
        check_signature(store, "sorter", "1", line)


@pytest.mark.parametrize("at", [0, 40, 90, -3])
def test_one_changed_byte_of_the_marker_is_noticed(store: Store, pair: KeyPair, tmp_path: Path, at: int) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    path = tmp_path / "store" / MARKER
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged):
        check_signature(store, "sorter", "1", pair.public_key)


def test_a_changed_file_is_noticed_through_the_signed_marker(store: Store, pair: KeyPair, tmp_path: Path) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    (tmp_path / "store/releases/sorter/1/model.onnx").write_bytes(b"model X")
    assert check_signature(store, "sorter", "1", pair.public_key)
    with pytest.raises(Damaged, match=r"model\.onnx is damaged"):
        store.releases.verify("sorter", "1")


class _Swapping(LocalObjects):
    """A store whose other writer puts evil files and a marker that lists them there while the files are read, and
    takes both away again: as a loop of two renames does, which wins the race in most tries."""

    evil = b"evil model"

    def stream(self, key: str) -> Iterator[bytes]:
        if key.endswith("model.onnx"):
            return iter([self.evil])
        return super().stream(key)

    def get(self, key: str) -> Stored:
        found = super().get(key)
        self.markers = getattr(self, "markers", 0) + key.endswith("release.json")
        if key.endswith("release.json") and self.markers != self.honest:
            record = json.loads(found.data)
            record["files"]["model.onnx"] = {"bytes": len(self.evil), "sha256": hashlib.sha256(self.evil).hexdigest()}
            return Stored(data=json.dumps(record).encode(), etag=found.etag)
        return found

    honest = 0


@pytest.mark.parametrize("honest", [1, 2, 3])
def test_a_marker_that_is_swapped_during_the_check_does_not_pass(
    store: Store, pair: KeyPair, tmp_path: Path, honest: int
) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    objects = _Swapping(tmp_path / "store")
    objects.honest = honest  # the time at which the marker is read as it was signed
    with pytest.raises(Damaged):
        verify_release(Store(objects), "sorter", "1", pair.public_key)


def test_what_is_signed_are_the_bytes_that_were_verified(store: Store, pair: KeyPair, tmp_path: Path) -> None:
    objects = _Swapping(tmp_path / "store")
    objects.honest = 1
    with pytest.raises(Damaged):
        sign_release(Store(objects), "sorter", "1", pair.secret_key)
    assert store.releases.signature("sorter", "1") is None


def test_a_file_that_is_not_signed_for_is_reported_and_fails(store: Store, pair: KeyPair, tmp_path: Path) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    (tmp_path / "store/releases/sorter/1/hook.py").write_bytes(b"import os")
    with pytest.raises(Damaged, match=r"hook\.py is not in the list"):
        verify_release(store, "sorter", "1", pair.public_key)


@pytest.mark.parametrize("name", [".env", ".hidden/hook.py", "plugins", "sub/.pth", "nowhere"])
def test_what_a_listing_passes_over_is_reported_too(store: Store, pair: KeyPair, tmp_path: Path, name: str) -> None:
    """Hidden files, and folders behind links: a server that is given the release's folder finds them."""
    sign_release(store, "sorter", "1", pair.secret_key)
    path = tmp_path / "store/releases/sorter/1" / name
    path.parent.mkdir(exist_ok=True)
    if name == "plugins":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    elif name == "nowhere":
        path.symlink_to(tmp_path / "not-yet")
    else:
        path.write_bytes(b"import os")
    with pytest.raises(Damaged, match=rf"{name.split('/')[0]}.* is not in the list"):
        verify_release(store, "sorter", "1", pair.public_key)


def test_what_was_verified_is_copied_whole_or_not_at_all(store: Store, pair: KeyPair, tmp_path: Path) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    found = verify_release(store, "sorter", "1", pair.public_key, to=tmp_path / "served")
    assert found.files == ("card.md", "model.onnx")
    there = {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    assert there["model.onnx"] == b"model 1"
    assert sorted(there) == ["card.md", "model.onnx", "release.json", "release.json.minisig"]
    with pytest.raises(UserError, match="already exists"):
        verify_release(store, "sorter", "1", pair.public_key, to=tmp_path / "served")
    (tmp_path / "store/releases/sorter/2/model.onnx").write_bytes(b"model X")
    with pytest.raises(Damaged):
        verify_release(store, "sorter", "2", to=tmp_path / "other")
    assert not [path.name for path in tmp_path.iterdir() if "other" in path.name]


def test_a_marker_cannot_lead_the_copy_out_of_its_folder(store: Store, tmp_path: Path) -> None:
    marker = tmp_path / "store" / MARKER
    record = json.loads(marker.read_bytes())
    record["files"]["../../refs/champion.json"] = {"bytes": 1, "sha256": "0" * 64}
    marker.write_text(json.dumps(record))
    with pytest.raises(UserError):
        verify_release(store, "sorter", "1", to=tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_another_releases_folder_copied_here_does_not_pass(store: Store, pair: KeyPair, tmp_path: Path) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    releases = tmp_path / "store/releases/sorter"
    for path in (releases / "1").iterdir():
        (releases / "2" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(Damaged, match="marker of another release"):
        check_signature(store, "sorter", "2", pair.public_key)


def test_signing_again_changes_nothing_and_another_key_is_refused(store: Store, pair: KeyPair) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    before = store.releases.signature("sorter", "1")
    sign_release(store, "sorter", "1", pair.secret_key)
    with pytest.raises(UserError, match="already signed"):
        sign_release(store, "sorter", "1", KeyPair.generate().secret_key)
    assert store.releases.signature("sorter", "1") == before
    with pytest.raises(NotFound):
        sign_release(store, "sorter", "3", pair.secret_key)


def test_a_signature_is_no_file_of_the_release(store: Store, pair: KeyPair) -> None:
    sign_release(store, "sorter", "1", pair.secret_key)
    assert store.releases.files("sorter", "1") == ["card.md", "model.onnx"]
    assert store.releases.list() == [("sorter", "1"), ("sorter", "2")]
    with pytest.raises(UserError, match="cannot be called"):
        store.releases.publish("sorter", "4", {"release.json.minisig": b""})


def test_keys_and_signatures_of_minisigns_own_tool_are_understood(store: Store, tmp_path: Path) -> None:
    public = public_key(THEIR_PUBLIC_KEY)
    public.verify(b'{"format": 1}', Signature.from_bytes(THEIR_SIGNATURE))
    (tmp_path / "trimtab.key").write_text(THEIR_SECRET_KEY)
    sign_release(store, "sorter", "1", signing_key(str(tmp_path / "trimtab.key")))
    assert check_signature(store, "sorter", "1", public)


def test_a_key_with_a_password_needs_it(pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.secret_key.encrypt("open sesame", opslimit=2**15, memlimit=2**24)
    path = tmp_path / "trimtab.key"
    path.write_bytes(bytes(pair.secret_key))
    monkeypatch.delenv("TRIMTAB_SIGNING_PASSWORD", raising=False)
    with pytest.raises(UserError, match=r"has a password; give it in \$TRIMTAB_SIGNING_PASSWORD"):
        signing_key(str(path))
    monkeypatch.setenv("TRIMTAB_SIGNING_PASSWORD", "sesame")
    with pytest.raises(UserError, match="does not fit the signing key"):
        signing_key(str(path))
    monkeypatch.setenv("TRIMTAB_SIGNING_PASSWORD", "open sesame")
    assert not signing_key(str(path)).is_encrypted()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"one line", b"untrusted comment: x\nnot base64!\n"])
def test_what_is_no_key_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    for read in (signing_key, public_key):
        with pytest.raises(UserError) as refused:
            read(str(path))
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="cannot be read: no such file"):
        public_key(str(tmp_path / "nowhere"))
    with pytest.raises(
        UserError, match=r"is not a minisign public key \(.*\); give the file minisign.pub or its second "
    ):
        public_key("RWQg+AaWNgPz632j1jTfIAZs")
