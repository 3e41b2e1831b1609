"""Finds, verifies and reads a backbone's published weights. No file is opened before its digest is right."""

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.core.models.catalog import Backbone, check_weights_available, locate_package_file, weight_scheme
from components.core.models.remote import fetch_object

if TYPE_CHECKING:
    import torch


def read_weights(backbone: Backbone) -> "dict[str, torch.Tensor]":
    """The tensors of the backbone's weights file, in the file's order, on the CPU.

    Safetensors, known by their first bytes, are read by safetensors, anything else by `torch.load(weights_only=True)`;
    neither can run code.
    UserError when the file cannot be had, its digest is not the pinned one, or it is no state dict.
    """
    check_weights_available(backbone)
    if weight_scheme(backbone.weights) == "torchvision:":
        return _read_torchvision(backbone)
    with _weights_file(backbone) as path:
        if backbone.sha256 is not None:
            _verify(path, backbone)
        return _read_file(path, backbone)


@contextmanager
def weights_files(backbone: Backbone) -> Iterator[tuple[Path, dict[str, Path]]]:
    """The weights file and the `files` beside it by name, in one folder, all verified; there while it is entered.

    UserError when one of them cannot be had, or has another digest than the pinned one.
    """
    check_weights_available(backbone)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-weights-")))
        path = stack.enter_context(_weights_file(backbone, folder))
        beside = {
            name: stack.enter_context(_weights_file(replace(backbone, weights=_beside(backbone.weights, name)), folder))
            for name in backbone.files
        }
        for file, digest in ((path, backbone.sha256), *((beside[name], backbone.files[name]) for name in beside)):
            if digest is not None:
                _verify(file, backbone, digest)
        yield path, beside


def _beside(weights: str, name: str) -> str:
    """The address of a file in the folder of the weights."""
    scheme = weight_scheme(weights)
    if scheme == "hf-hub:":
        parts = weights.removeprefix("hf-hub:").split("/")
        return "hf-hub:" + "/".join([*parts[:2], *parts[2:-1], name])
    return f"{weights.rpartition('/')[0]}/{name}"


@contextmanager
def _weights_file(backbone: Backbone, folder: Path | None = None) -> Iterator[Path]:
    """`folder`: where an object is fetched to, else a temporary one."""
    scheme = weight_scheme(backbone.weights)
    if scheme == "package:":
        yield locate_package_file(backbone)
    elif scheme == "file:":
        yield Path(backbone.weights.removeprefix("file:"))
    elif scheme == "hf-hub:":
        yield _download_from_hub(backbone)
    elif scheme == "s3://":
        with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="trimtab-weights-") as place:
            path = Path(place) / Path(backbone.weights).name
            fetch_object(backbone.weights, path)
            yield path
    else:
        raise UserError(f"backbone {backbone.name!r} has no pretrained weights (weights: {backbone.weights})")


def _download_from_hub(backbone: Backbone) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = backbone.weights.removeprefix("hf-hub:").split("/", 2)
    if len(parts) < 2:
        raise UserError(f"weights of backbone {backbone.name!r} must be hf-hub:ORG/NAME, got {backbone.weights!r}")
    name = parts[2] if len(parts) == 3 else "model.safetensors"
    if not name.endswith(".safetensors") and name not in backbone.files:
        raise UserError(f"weights of backbone {backbone.name!r}: only .safetensors is read from a hub, got {name!r}")
    try:
        return Path(hf_hub_download("/".join(parts[:2]), name))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise _unreachable(backbone, error) from None


def _read_torchvision(backbone: Backbone) -> "dict[str, torch.Tensor]":
    from torchvision.models import get_weight

    enum = backbone.weights.removeprefix("torchvision:")
    try:
        weights = get_weight(enum)
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"backbone {backbone.name!r}: torchvision has no weights {enum!r}: {error}") from None
    try:
        # The file name carries the start of the sha256; check_hash compares it before the file is kept.
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise _unreachable(backbone, error) from None
    return dict(state)


def _unreachable(backbone: Backbone, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"weights of backbone {backbone.name!r} could not be downloaded from {backbone.weights} ({reason}); "
        "without internet, give 'weights: file:…' or 's3://…' and 'sha256' in a catalog of your own"
    )


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do (eight bytes of length, then JSON) or is called so."""
    with path.open("rb") as stream:
        return path.suffix == ".safetensors" or stream.read(9)[8:] == b"{"


def tensor_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes of the tensors of a weights file that is on this machine, in milliseconds and without torch.

    None where they cannot be told so: another kind of file, or one in object storage or on a hub. UserError as for
    `check_weights_available`, and when the file's header cannot be read.
    """
    check_weights_available(backbone)
    if weight_scheme(backbone.weights) not in ("package:", "file:"):
        return None
    with _weights_file(backbone) as path:
        if not is_safetensors(path):
            return None
        try:
            with path.open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            return {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError,
        ) as error:  # fmt: skip
            raise UserError(
                f"weights of backbone {backbone.name!r}: {path} is not a safetensors file: {error}"
            ) from None


def _verify(path: Path, backbone: Backbone, digest: str | None = None) -> None:
    wanted = backbone.sha256 if digest is None else digest
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != wanted:
        what = f"weights of backbone {backbone.name!r} ({backbone.weights}) have"
        if path.name in backbone.files:
            what = f"{path.name} of backbone {backbone.name!r} has"
        raise UserError(
            f"{what} a different sha256 than {backbone.origin} requires ({wanted}): the file is damaged, or it is "
            "another file"
        )


def _read_file(path: Path, backbone: Backbone) -> "dict[str, torch.Tensor]":
    import torch
    from safetensors.torch import load_file

    where = f"weights of backbone {backbone.name!r}: {backbone.weights}"
    state: object
    try:
        # By content: the objects of a store have no suffix.
        if is_safetensors(path):
            state = load_file(path)
        else:
            check_stored_whole(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  torch's readers raise anything for damaged bytes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{where} cannot be read: {reason}") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{where} holds no state dict of tensors")
    check_dense(state, where)
    return dict(state)


def check_stored_whole(path: Path) -> None:
    """ValueError for a zip file that unpacks to more than it is: torch stores, and never compresses."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked, size = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    if unpacked > size:
        raise ValueError(f"its {size:,} bytes unpack to {unpacked:,}, and torch compresses nothing")


def check_dense(tensors: "Mapping[str, torch.Tensor]", where: str) -> None:
    """UserError for a tensor whose file held less than a value for each of its places; `where` begins the message."""
    for name, tensor in tensors.items():
        if not _is_dense(tensor):
            raise UserError(
                f"{where}: {str(name)[:200]!r} has the shape {tuple(tensor.shape)} without a value for each"
            )


def _is_dense(tensor: "torch.Tensor") -> bool:
    """Whether the file held a value for each place: of strides of 0 one value is enough for any shape."""
    import torch

    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
