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

_WHERE_INSTALLED = {"core/runtime/runtimes.py": "openvino"}
"""Libraries that change a result where they are installed, by the module that looks for them: for its stages alone."""

_ABSENT = "absent"

VARIANT = "__"
"""Between a stage's name and that of a variant, in a function's name: `preflight__retrain` belongs to `preflight`."""


def stage_digest(folder: Path) -> str:
    """The digest of a stage's code: of all files that it may load (see `loaded_files.py`), and of no other.

    Comments and empty lines do not count.
    """
    package, files = package_at(folder.parent), loaded_files(folder)
    optional = [
        (f"{name} {version}", b"")
        for path, name in _WHERE_INSTALLED.items()
        if path in files and (version := _version(name)) != _ABSENT
    ]
    return digest_of([*((path, package.digest(path)) for path in files), *optional])


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
    return ", ".join(f"{name} {_version(name)}" for name in _DISTRIBUTIONS)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _ABSENT
