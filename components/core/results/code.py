"""The digest of the code that a result rests on: its files, and the versions of the libraries that compute."""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from components.core.results.loaded_files import code_files, loaded_files, package_at

_DISTRIBUTIONS = (
    "torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "numpy", "highspy",
    "pillow", "pyarrow",
)  # fmt: skip
"""Libraries whose version may change a result."""


VARIANT = "__"
"""Between a stage's name and that of a variant, in a function's name: `preflight__retrain` belongs to `preflight`."""


def stage_digest(folder: Path) -> str:
    """The digest of a stage's code: of all files that it may load (see `loaded_files.py`), and of no other.

    Comments and empty lines do not count.
    """
    package = package_at(folder.parent)
    return digest_of((path, package.digest(path)) for path in loaded_files(folder))


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of the code and data files of a folder, in a fixed order."""
    for path in code_files(folder):
        yield f"{folder.name}/{path.relative_to(folder).as_posix()}", hashlib.sha256(path.read_bytes()).digest()


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
