"""Store changes of a task in a container: looked at, and taken in as far as it can do no harm there.

- A blob comes in if its bytes have the digest that it is named by.
- A release comes in whole, under its marker, if there is none of its name and version with other bytes.
- A blob that the task will rely on is kept from the garbage collection.
- A ref, which may be the champion, is moved by nobody but a task that was given the store: `--allow store`.
- Checkpoints and a stage's own results are left behind: whoever reads them later could not tell who wrote them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from components.core.errors import UserError
from components.core.store import NotFound, Store, StoreError
from pipelines.runner.beneath import check_tree, read_file

_MARKER, _MOST_BYTES = "release.json", 16 * 2**20


def take_in(store: Store, changes: Path) -> None:
    """Brings what a task left in `changes` into the store. No container writes there any more.

    Raises:
        UserError: a link, bytes with another digest than their name, a release that is not whole, or a moved ref.
        StoreError: the store refuses it, as a release that is there already with other bytes.
        OSError: something that cannot be read.
    """
    if not changes.is_dir() or changes.is_symlink():
        return
    check_tree(changes)
    moved = [file.relative_to(changes / "refs").as_posix().removesuffix(".json") for file in _files(changes / "refs")]
    if moved:
        raise UserError(
            f"it moved the ref {sorted(moved)[0]!r} of the store; a container may only do that with --allow store"
        )
    blobs = list(_files(changes / "blobs" / "sha256"))
    for file, digest in zip(blobs, store.blobs.put_many(blobs), strict=True):
        if digest != file.name:
            raise UserError(f"it left the blob {file.name[:70]!r}, whose bytes have the sha256 {digest}")
    for file in _files(changes / "held"):
        try:
            store.blobs.hold([file.name])
        except (NotFound, UserError):
            continue  # gone, or no digest: then there is nothing to keep
    for marker in sorted((changes / "releases").glob(f"*/*/{_MARKER}")):
        _publish(store, changes, marker)


def _publish(store: Store, changes: Path, marker: Path) -> None:
    folder = marker.parent
    name, version = folder.parent.name, folder.name
    content = read_file(changes, marker.relative_to(changes).as_posix(), most_bytes=_MOST_BYTES)
    try:
        document = json.loads(content or b"")
        listed = document["files"]
        files: dict[str, bytes | Path] = {str(file): folder / str(file) for file in listed}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"it left the release {name} {version} with a marker that lists no files") from None
    if (document.get("name"), document.get("version")) != (name, version):
        raise UserError(f"it left the release {name} {version} with the marker of another one")
    for file in files:
        if _is_missing(folder, file):
            raise UserError(f"it left the release {name} {version} without the file {file[:100]!r}")
    store.releases.publish(name, version, files)
    if store.releases.marker(name, version) != content:
        raise StoreError(f"the bytes of release {name} {version} are not those that its marker names")


def _is_missing(folder: Path, file: str) -> bool:
    """Whether a release lacks a file that its marker lists, or the name leads elsewhere."""
    return ".." in Path(file).parts or Path(file).is_absolute() or not (folder / file).is_file()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
