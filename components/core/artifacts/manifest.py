"""The manifest: what a KFP artifact carries instead of bytes.

A stage's output artifact is a directory holding only ``manifest.json``. It names the files of the artifact by their
sha256; the bytes are blobs in the store. So nothing is copied twice between stages, and every read is verified.

The manifest of an artifact of very many files names most of them through listings (`listings`), which are blobs too.
"""

import hashlib
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.entries import (
    FileEntry,
    Listing,
    check_relative_path,
    files_and_folders,
    parse_entries,
)
from components.core.artifacts.listings import listed_files
from components.core.errors import UserError
from components.core.json_documents import parse_object
from components.core.plain_files import is_plain_file
from components.core.store.keys import canonical_json

if TYPE_CHECKING:
    from components.core.store import Store

MANIFEST_NAME = "manifest.json"
FORMAT = 1
FORMAT_WITH_LISTINGS = 2
KINDS = (
    "dataset", "model", "onnx", "ranking", "curves", "evaluation", "decision", "release", "drift", "judgement",
    "part", "rung",
)  # fmt: skip

DOCUMENT_BYTES = 32 * 2**20
"""Of a document that a stage reads whole, and none is as long as a data set."""

_STAMPS = ".verified.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Kind, facts and files of one artifact; immutable, and named by its own `digest`.

    `metadata` must be deterministic for the kinds dataset, model and onnx (no time, host, URI or latency): cache keys
    and the release's version rest on the digest. `files` is sorted by path. `listings` are blobs that name further
    files (`listings.listed_files` reads them); few artifacts have any.
    """

    kind: str
    metadata: dict[str, Any]
    files: tuple[FileEntry, ...]
    listings: tuple[Listing, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown artifact kind {self.kind!r}; known: {', '.join(KINDS)}")
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda entry: entry.path)))
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(f"{twice!r} is listed twice")
        if any(path.partition("/")[0] == _STAMPS for path in paths):
            raise ValueError(f"{_STAMPS!r} is reserved for the local cache")
        if both := files_and_folders(paths):
            raise ValueError(f"{both[0]!r} is listed as a file and as a folder")
        if len({listing.sha256 for listing in self.listings}) != len(self.listings):
            raise ValueError("a listing is named twice")

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of kind, metadata, files, and listings if there are any."""
        return hashlib.sha256(canonical_json(self._content())).hexdigest()

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes of all files, with those in listings."""
        return sum(entry.bytes for entry in self.files) + sum(listing.total_bytes for listing in self.listings)

    def entry(self, name: str) -> FileEntry:
        """The entry of the file called `name`; UserError listing the files when there is none."""
        for candidate in self.files:
            if candidate.path == name:
                return candidate
        known = ", ".join(entry.path for entry in self.files[:10]) or "none"
        raise UserError(f"this {self.kind} artifact has no file {name!r}; files: {known}")

    def to_json(self) -> dict[str, Any]:
        """The content of ``manifest.json``."""
        used = FORMAT_WITH_LISTINGS if self.listings else FORMAT
        return {"format": used, "digest": self.digest, **self._content()}

    def _content(self) -> dict[str, Any]:
        content = {"kind": self.kind, "metadata": self.metadata, "files": [asdict(entry) for entry in self.files]}
        if self.listings:
            content["listings"] = [asdict(listing) for listing in self.listings]
        return content


def publish(
    artifact_path: str | Path, *, kind: str, files: Mapping[str, bytes | Path], metadata: dict[str, Any], store: "Store"
) -> Manifest:
    """Put `files` into the store and write the manifest; atomic: the manifest appears last, whole or not at all.

    Args:
        artifact_path: directory of the KFP artifact (`artifact.path`); created when missing.
        kind: one of `KINDS`.
        files: relative path in the artifact → its bytes, or a local file to read them from.
        metadata: JSON-able facts; see `Manifest`.
        store: where the bytes go.
    """
    for path in files:
        check_relative_path(path)
    digests = store.blobs.put_many(list(files.values()))
    entries = [
        FileEntry(path=path, bytes=_size(content), sha256=digest)
        for (path, content), digest in zip(files.items(), digests, strict=True)
    ]
    return publish_entries(artifact_path, kind=kind, entries=entries, metadata=metadata)


def publish_folder(
    artifact_path: str | Path, *, kind: str, folder: Path, metadata: dict[str, Any], store: "Store"
) -> Manifest:
    """`publish` every regular file below `folder`, named by its path relative to it."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return publish(artifact_path, kind=kind, files=files, metadata=metadata, store=store)


def publish_entries(
    artifact_path: str | Path,
    *,
    kind: str,
    entries: Sequence[FileEntry],
    metadata: dict[str, Any],
    listings: Sequence[Listing] = (),
) -> Manifest:
    """Write the manifest for blobs that are in the store already (a big artifact uploads as it is produced)."""
    # Through JSON and back, so that what is returned equals what a later reader gets (a tuple becomes a list).
    facts = json.loads(canonical_json(metadata))
    manifest = Manifest(kind=kind, metadata=facts, files=tuple(entries), listings=tuple(listings))
    folder = Path(artifact_path)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / MANIFEST_NAME, json.dumps(manifest.to_json(), indent=1, sort_keys=True).encode())
    return manifest


def read_manifest(artifact_path: str | Path, *, kind: str | None = None) -> Manifest:
    """Read and validate ``manifest.json`` in the directory `artifact_path`.

    Raises:
        UserError: there is no manifest, it is malformed or altered, or it is of another kind than `kind`.
    """
    path = Path(artifact_path) / MANIFEST_NAME
    if path.exists() and not is_plain_file(path):
        raise UserError(f"{path} is a pipe, a device or a folder, and no manifest")
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"no artifact at {artifact_path}: {MANIFEST_NAME} is missing") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    try:
        manifest = parse_manifest(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error
    if kind is not None and manifest.kind != kind:
        raise UserError(f"{path}: expected a {kind!r} artifact, got {manifest.kind!r}")
    return manifest


def parse_manifest(document: Any) -> Manifest:
    """The `Manifest` of a parsed ``manifest.json``; ValueError naming what is wrong."""
    if not isinstance(document, dict) or document.get("format") not in (FORMAT, FORMAT_WITH_LISTINGS):
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise ValueError(f"not a manifest of format {FORMAT} or {FORMAT_WITH_LISTINGS} (found {found!r})")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        raise ValueError("'metadata' must be an object")
    listings = document.get("listings") if document["format"] == FORMAT_WITH_LISTINGS else []
    if listings is None:
        raise ValueError(f"a manifest of format {FORMAT_WITH_LISTINGS} needs 'listings'")
    manifest = Manifest(
        kind=str(document.get("kind")),
        metadata=metadata,
        files=tuple(parse_entries(FileEntry, document.get("files"))),
        listings=tuple(parse_entries(Listing, listings)),
    )
    if document.get("digest") != manifest.digest:
        raise ValueError(f"digest {document.get('digest')!r} is not that of its content ({manifest.digest})")
    return manifest


def materialize(manifest: Manifest, store: "Store", folder: Path | None = None) -> Path:
    """Bring the files of `manifest` to local disk and return their folder.

    Each file appears whole or not at all, verified while it streams; what is there already is reused, so an
    interrupted call continues where it stopped. A file that was verified before is hashed again only when its size,
    inode or modification time changed (as git's index does) or the machine was restarted (what a power cut took from a
    file, its times may not tell), and fetched again when its bytes did.

    Args:
        manifest: what to fetch.
        store: where the blobs are.
        folder: destination; default ``$TRIMTAB_CACHE`` or ``~/.cache/trimtab``, one sub-folder a manifest digest.

    Raises:
        UserError: the destination cannot be written. StoreError: a blob is missing or damaged, or no answer.
    """
    target = folder if folder is not None else cache_folder() / manifest.digest
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UserError(
            f"cannot write to {target}: {reason}; set TRIMTAB_CACHE to a folder that is writable"
        ) from error
    stamps, boot = _read_stamps(target), _boot()
    missing: dict[Path, str] = {}
    files = listed_files(manifest, store)
    for entry in files:
        path = target / entry.path
        if not _is_intact(path, entry, stamps.get(entry.path), boot):
            path.parent.mkdir(parents=True, exist_ok=True)
            missing[path] = entry.sha256
    if missing:
        store.blobs.fetch_many(missing)
    fresh = {entry.path: _stamp(target / entry.path, entry.sha256, boot) for entry in files}
    if fresh != stamps:
        _write_atomically(target / _STAMPS, json.dumps(fresh).encode())
    return target


def cache_folder() -> Path:
    """``$TRIMTAB_CACHE``, else ``~/.cache/trimtab``; safe to delete at any time between runs.

    Below it lie the shards of data sets (`shard_cache`) and the files of other artifacts (`materialize`).
    """
    return Path(os.environ.get("TRIMTAB_CACHE") or Path.home() / ".cache" / "trimtab")


def read_file(manifest: Manifest, name: str, store: "Store") -> bytes:
    """The verified bytes of one (small) file of the artifact."""
    return store.blobs.get(manifest.entry(name).sha256)


def read_document(
    manifest: Manifest, name: str, store: "Store", *, most_bytes: int | None = DOCUMENT_BYTES
) -> dict[str, Any]:
    """A file of the artifact that holds a JSON object.

    Args:
        manifest: of the artifact.
        name: of the file.
        store: where its bytes are.
        most_bytes: None where it has a line for each row of a data set.

    Raises:
        UserError: there is no such file, it is larger, or it holds something else.
    """
    where, most = f"{name} of the {manifest.kind} artifact", sys.maxsize if most_bytes is None else most_bytes
    stated = manifest.entry(name).bytes
    content = read_file(manifest, name, store) if stated <= most else b""
    if (size := max(stated, len(content))) > most:
        raise UserError(f"{where} has {size:,} bytes; at most {most:,} are read")
    return parse_object(content, where)


def describe(kfp_artifact: Any, manifest: Manifest, store: "Store", **facts: str | int | float | bool) -> None:
    """Put the important facts on the KFP artifact, so that the pipeline UI shows them.

    Sets `kfp_artifact.metadata` to kind, digest, bytes and store URI, and the given flat `facts`.
    """
    for name, value in facts.items():
        if not isinstance(value, str | int | float | bool):
            raise TypeError(f"fact {name!r} must be a scalar, got {type(value).__name__}")
    kfp_artifact.metadata = {
        "kind": manifest.kind,
        "digest": manifest.digest,
        "bytes": manifest.total_bytes,
        "store": store.uri,
        **facts,
    }


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _write_atomically(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; an artifact's manifest is read by other users' pods too.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _stamp(path: Path, sha256: str, boot: str) -> list[str | int]:
    status = path.stat()
    return [sha256, status.st_size, status.st_mtime_ns, status.st_ino, boot]


def _boot() -> str:
    """Names this time that the machine is up; where the system has no such name, one that never comes again."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex


def _read_stamps(target: Path) -> dict[str, list[str | int]]:
    try:
        stamps = json.loads((target / _STAMPS).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _is_intact(path: Path, entry: FileEntry, stamp: list[str | int] | None, boot: str) -> bool:
    if not path.is_file() or path.stat().st_size != entry.bytes:
        return False
    if stamp == _stamp(path, entry.sha256, boot):
        return True
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == entry.sha256
