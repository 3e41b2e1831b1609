import hashlib
import io
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from components.core.errors import UserError
from components.core.models import weights
from components.core.models.catalog import Backbone, load_catalog
from components.core.models.weights import read_weights, tensor_shapes, weights_files

CATALOG = load_catalog()


def refuse(error: Exception) -> object:
    def download(*_: object, **__: object) -> None:
        raise error

    return download


def test_mirror_in_object_storage_is_verified_like_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.safetensors"
    save_file({"a": torch.arange(3)}, source)
    monkeypatch.setattr(weights, "fetch_object", lambda uri, path: path.write_bytes(source.read_bytes()))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    mirror = replace(CATALOG["resnet18"], weights="s3://bucket/w.safetensors", sha256=digest)
    assert torch.equal(read_weights(mirror)["a"], torch.arange(3))
    with pytest.raises(UserError, match="have a different sha256 than"):
        read_weights(replace(mirror, sha256="0" * 64))


def test_unreachable_download_names_the_way_without_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse(urllib.error.URLError("no route")))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse(urllib.error.URLError("no route")))
    with pytest.raises(UserError, match=r"'resnet18' could not be downloaded .*no route.*catalog of your own"):
        read_weights(CATALOG["resnet18"])
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse(LocalEntryNotFoundError("offline")))
    with pytest.raises(UserError, match=r"'lcnet_100' could not be downloaded .*offline"):
        read_weights(CATALOG["lcnet_100"])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("torchvision:ResNet18_Weights.NONE", "torchvision has no weights 'ResNet18_Weights.NONE'"),
        ("torchvision:Nonsense", "torchvision has no weights 'Nonsense'"),
        ("hf-hub:timm", "must be hf-hub:ORG/NAME"),
        ("hf-hub:timm/x/pytorch_model.bin", r"only \.safetensors is read from a hub"),
        ("none", "has no pretrained weights"),
    ],
)
def test_address_that_cannot_work_is_refused(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_weights(replace(CATALOG["resnet18"], weights=address))


def test_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        read_weights(replace(CATALOG["resnet18"], weights=f"file:{path}", sha256=digest))


def test_safetensors_are_known_by_their_content_and_described_without_torch(tmp_path: Path) -> None:
    blob = tmp_path / "0123"
    save_file({"a": torch.zeros(2, 3), "b.c": torch.ones(())}, blob)
    entry = replace(CATALOG["resnet18"], weights=f"file:{blob}", sha256=hashlib.sha256(blob.read_bytes()).hexdigest())
    assert set(read_weights(entry)) == {"a", "b.c"}
    assert tensor_shapes(entry) == {"a": (2, 3), "b.c": ()}
    assert tensor_shapes(replace(entry, weights="s3://bucket/w.safetensors")) is None
    torch.save({"a": torch.zeros(2)}, blob)
    assert tensor_shapes(entry) is None
    for content in (b"", b"\x05\0\0\0\0\0\0\0{1:2}", b"\xff" * 8 + b"{", b"\x02\0\0\0\0\0\0\0[]"):
        path = tmp_path / "broken.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"'resnet18': .*broken\.safetensors is not a safetensors file"):
            tensor_shapes(replace(entry, weights=f"file:{path}"))


def entry_of(path: Path) -> Backbone:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(CATALOG["resnet18"], weights=f"file:{path}", sha256=digest)


def legacy(state: dict[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"x" * 200,
        b"\x80\x02X\x03\x00\x00\x00\xc3\x28\xff.",
        b"\x80\x02K",
        b"\x80\x02cunknown\nthing\n.",
        b"\x80\x02]]s.",
        *(legacy({"a": torch.arange(6.0)})[:length] for length in range(0, 370, 31)),
    ],
)
def test_a_broken_pth_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'resnet18': file:.*w\.pth (cannot be read|holds no state dict)") as caught:
        read_weights(entry_of(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(10**6, 10**6), torch.zeros(10**6, 10**6, device="meta"), torch.eye(3).to_sparse()],
    ids=["strides of 0", "no storage", "sparse"],
)
def test_a_tensor_without_a_value_for_each_place_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "w.pth"
    torch.save({"fc.weight": tensor}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"'fc\.weight' has the shape \(\d+, \d+\) without a value for each"):
        read_weights(entry_of(path))


def test_a_file_of_a_megabyte_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pth", tmp_path / "w.pth"
    torch.save({"a": torch.zeros(5_000_000)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info.filename))
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"unpack to 20,\d\d\d,\d\d\d"):
        read_weights(entry_of(path))


def test_tensors_that_share_their_values_are_read(tmp_path: Path) -> None:
    tied, path = torch.arange(6.0).reshape(2, 3), tmp_path / "w.pth"
    torch.save({"embedding": tied, "output": tied, "turned": tied.t(), "part": tied[1:]}, path)
    read = read_weights(entry_of(path))
    assert torch.equal(read["output"], tied)
    assert torch.equal(read["turned"], tied.t())
    assert torch.equal(read["part"], tied[1:])


def test_files_beside_the_weights_are_had_and_verified_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"w.bin": b"weights", "vocab.spm": b"pieces"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    entry = Backbone(
        name="own", architecture="marian:transformer", licence="none", sha256=digests["w.bin"], task="translation",
        weights=f"file:{tmp_path}/w.bin", files={"vocab.spm": digests["vocab.spm"]},
    )  # fmt: skip
    monkeypatch.setattr(
        weights, "fetch_object", lambda uri, path: path.write_bytes(content[uri.removeprefix("s3://bucket/team/")])
    )
    for address in (entry.weights, "s3://bucket/team/w.bin"):
        with weights_files(replace(entry, weights=address)) as (path, beside):
            assert (path.read_bytes(), beside["vocab.spm"].read_bytes()) == (b"weights", b"pieces")
    for files, message in (
        (
            {"vocab.spm": "0" * 64},
            "vocab.spm of backbone 'own' has a different sha256 than catalog.yaml requires .0000",
        ),
        ({"vocab.spm": None}, "needs the sha256 of its file vocab.spm"),
        ({"other.spm": "0" * 64}, "no file other.spm beside"),
    ):
        with pytest.raises(UserError, match=message), weights_files(replace(entry, files=files)):
            pass


def test_files_on_a_hub_are_asked_for_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        (tmp_path / name).write_bytes(name.encode())
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    entry = Backbone(
        name="hub", architecture="marian:transformer", licence="none", task="translation",
        weights="hf-hub:Helsinki-NLP/opus-mt-en-de", files={"source.spm": None},
    )  # fmt: skip
    with weights_files(entry) as (path, beside):
        assert (path.name, beside["source.spm"].read_bytes()) == ("model.safetensors", b"source.spm")
    repository = "Helsinki-NLP/opus-mt-en-de"
    assert asked == [(repository, "model.safetensors"), (repository, "source.spm")]
