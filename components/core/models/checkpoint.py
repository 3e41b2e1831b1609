"""Reads a network that a user has trained: its tensors out of a `.safetensors` or `.pth` file, however it was saved.

`.pth` files are opened with `weights_only=True`, which runs no code.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.models.remote import fetch_object
from components.core.models.weights import check_dense, check_stored_whole, is_safetensors

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
"""Suffixes of checkpoints."""

_STATES = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights")
"""Under which name training scripts save a network's tensors, beside those of the optimizer."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Prefixes that `DataParallel`, `torch.compile` and Lightning put before every name."""

_COUNTERS = "num_batches_tracked"
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`tensors` as the file names them; `classes` if it says their names, in the order of the outputs; else empty."""

    tensors: "Mapping[str, Tensor]"
    classes: tuple[str, ...] = ()


@contextmanager
def checkpoint_file(address: str) -> Iterator[Path]:
    """The file at a path or an ``s3://`` URI; what was fetched is removed afterwards.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    if address.startswith("s3://"):
        with tempfile.TemporaryDirectory(prefix="trimtab-model-") as folder:
            path = Path(folder) / "checkpoint"
            fetch_object(address, path)
            yield path
        return
    try:
        path = Path(address).expanduser()
    except RuntimeError:
        raise UserError(f"model {address!r} names an unknown home folder") from None
    if not path.is_file():
        raise UserError(f"model {address}: there is no such file")
    yield path


def digest_of(path: Path) -> str:
    """sha256 of the file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_checkpoint(path: Path, *, called: str) -> Checkpoint:
    """The network's tensors on the CPU; floats of any precision as float32.

    Args:
        path: a safetensors file (known by its first bytes), or what `torch.save` wrote: a state dict, or a dict that
            holds one under a usual name ("state_dict", "model", …).
        called: what messages call the file.

    Raises:
        UserError: it is no such file, holds a pickled network in place of its tensors, several networks, or a tensor
            without a value for each place.
    """
    document = _loaded(path, called)
    tensors = _state_of(document, called)
    check_dense(tensors, f"model {called}")
    return Checkpoint(
        tensors={name: one.float() if one.is_floating_point() else one for name, one in tensors.items()},
        classes=_classes_of(document),
    )


def fitted(
    tensors: "Mapping[str, Tensor]",
    wanted: "Mapping[str, Tensor]",
    *,
    source: str,
    outputs: Sequence[str],
    classes: int,
    rebuilt: bool = False,
) -> "dict[str, Tensor]":
    """The tensors under the names of the network, all of it; what was put before every name is taken off.

    Counters of batch norms, which old files lack, are 0.

    Args:
        tensors: as read.
        wanted: the network's own state.
        source: the architecture, for messages.
        outputs: names of the layers that make the outputs.
        classes: how many there are to be.
        rebuilt: the tensors have been put together by name already, so nothing is taken off.

    Raises:
        UserError: the file is of another architecture, or has another number of outputs; names the first tensor.
    """
    found = dict(tensors) if rebuilt else without_prefix(tensors, wanted)
    for layer in outputs:
        weight = found.get(f"{layer}.weight")
        if weight is not None and len(weight) != classes:
            raise UserError(
                f"the model's last layer {layer!r} has {len(weight)} outputs, but labels has {classes} class "
                "names; the two numbers must be equal"
            )
    import torch

    for name, tensor in wanted.items():
        if name not in found and name.endswith(_COUNTERS):
            found[name] = torch.zeros_like(tensor)
        if name not in found:
            raise _misfit(source, f"has no {name!r}", found)
        if found[name].shape != tensor.shape:
            raise _misfit(source, f"has {name!r} of shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}", found)
    if unknown := [name for name in found if name not in wanted]:
        raise _misfit(source, f"has {unknown[0]!r}, which the architecture does not have", found)
    return found


def without_prefix(tensors: "Mapping[str, Tensor]", wanted: Iterable[str]) -> "dict[str, Tensor]":
    """The tensors without what was put before every name, as far as the network's own names have it not."""
    names = set(wanted)
    found = dict(tensors)
    while not names & set(found):
        prefix = next((one for one in _PREFIXES if found and all(name.startswith(one) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _misfit(source: str, problem: str, found: Iterable[str]) -> UserError:
    first = ", ".join(list(found)[:_SHOWN])
    return UserError(f"the checkpoint does not fit architecture {source}: it {problem}; its first tensors are {first}")


def _loaded(path: Path, called: str) -> Any:
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        if is_safetensors(path):
            return load_file(path)
        check_stored_whole(path)
        # timm's training script saves its command line beside the tensors: a Namespace is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = _first_line(error)
        if "GLOBAL" in str(error) or "global" in str(error):
            reason = "it holds Python objects beside tensors, which would run code; save model.state_dict() instead"
        raise UserError(f"model {called} cannot be read: {reason}") from None
    except Exception as error:  # noqa: BLE001  torch's readers raise anything for damaged bytes
        raise UserError(f"model {called} cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _state_of(document: Any, called: str) -> "Mapping[str, Tensor]":
    if _is_state(document):
        return dict(document)
    if isinstance(document, Mapping):
        for name in _STATES:
            if _is_state(document.get(name)):
                return dict(document[name])
    holds = f"it holds {', '.join(map(str, list(document)[:6]))}" if isinstance(document, Mapping) else "it holds none"
    raise UserError(
        f"model {called} holds no state dict of tensors, neither at its top nor under {', '.join(_STATES)}; {holds}"
    )


def _is_state(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, torch.Tensor) for one in value.values())


def _classes_of(document: Any) -> tuple[str, ...]:
    """Of `class_to_idx` (torchvision) or `classes`, where a script saved them."""
    if not isinstance(document, Mapping):
        return ()
    numbers, names = document.get("class_to_idx"), document.get("classes")
    if isinstance(numbers, Mapping) and set(numbers.values()) == set(range(len(numbers))):
        return tuple(str(name) for name in sorted(numbers, key=numbers.__getitem__))
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()
