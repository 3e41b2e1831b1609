"""The digest of the code that a result rests on: its files, and the versions of the libraries that compute."""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_DISTRIBUTIONS = (
    "torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "pyarrow",
)  # fmt: skip
"""Libraries whose version may change a result."""

_NO_CODE = (".pyc", ".md")


def stage_digest(folder: Path) -> str:
    """The digest of a stage's code: its folder, `core`, and the modules beside them."""
    return digest_of([*files_of(folder), *files_of(folder.parent / "core"), *files_of(folder.parent, deep=False)])


def files_of(folder: Path, *, deep: bool = True) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of the code and data files of a folder, in a fixed order."""
    for path in sorted(folder.rglob("*") if deep else folder.glob("*")):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.suffix not in _NO_CODE:
            yield f"{folder.name}/{path.relative_to(folder).as_posix()}", _content(path)


@cache
def _content(path: Path) -> bytes:
    # core is read once, not once a stage; only the digest is kept, since a stage may carry its demo data.
    return hashlib.sha256(path.read_bytes()).digest()


def digest_of(parts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    digest.update(library_versions().encode())
    return digest.hexdigest()


@cache
def library_versions() -> str:
    """`torch 2.10.0, timm 1.0.26, …`: the versions that a result may depend on."""
    found = []
    for name in _DISTRIBUTIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)
