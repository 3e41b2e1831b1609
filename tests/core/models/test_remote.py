from pathlib import Path

import pytest

from components.core import store
from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.models.remote import fetch_object, read_object


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of object storage; what S3 itself does is tested with the store."""
    folder = tmp_path / "bucket"
    (folder / "team").mkdir(parents=True)
    real = store.open_objects
    monkeypatch.setattr(store, "open_objects", lambda uri: real(uri.replace("s3://bucket", str(folder), 1)))
    return folder


def test_object_is_read_and_fetched_by_its_address(bucket: Path, tmp_path: Path) -> None:
    (bucket / "team" / "w.pth").write_bytes(b"weights")
    (bucket / "root.bin").write_bytes(b"at the root")
    assert read_object("s3://bucket/team/w.pth", most_bytes=100) == b"weights"
    assert read_object("s3://bucket/root.bin", most_bytes=100) == b"at the root"
    fetch_object("s3://bucket/team/w.pth", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"


def test_missing_object_is_a_users_mistake_and_leaves_no_file(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no object s3://bucket/team/absent\.pth"):
        fetch_object("s3://bucket/team/absent.pth", tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))
    with pytest.raises(UserError, match="s3://BUCKET/KEY"):
        read_object("s3://bucket", most_bytes=100)


def test_own_catalog_may_lie_in_object_storage(bucket: Path) -> None:
    text = "backbones:\n  efficientnet_lite0:\n    weights: s3://bucket/team/lite0.pth\n"
    (bucket / "team" / "catalog.yaml").write_text(text, encoding="utf-8")
    backbone = load_catalog("s3://bucket/team/catalog.yaml")["efficientnet_lite0"]
    assert backbone.weights == "s3://bucket/team/lite0.pth"
    assert backbone.origin == "s3://bucket/team/catalog.yaml"
