"""Several artifacts in one: what a later task shall choose from is one input then, whatever their number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest
from components.core.errors import UserError

_PACKED = "packed"


def packed(manifests: Mapping[str, Manifest]) -> tuple[list[FileEntry], dict[str, Any]]:
    """Entries and metadata of an artifact that holds these, by name; no bytes are copied."""
    entries = [
        replace(entry, path=f"{name}/{entry.path}") for name, manifest in manifests.items() for entry in manifest.files
    ]
    facts = {name: {"kind": manifest.kind, "metadata": manifest.metadata} for name, manifest in manifests.items()}
    return entries, {_PACKED: facts}


def unpacked(manifest: Manifest, name: str) -> Manifest:
    """The artifact that was packed under a name, with the digest that it had.

    Raises:
        UserError: there is none, or what is said of it is not what `packed` writes.
    """
    held = manifest.metadata.get(_PACKED)
    facts = held.get(name) if isinstance(held, dict) else None
    if not isinstance(facts, dict) or not isinstance(facts.get("metadata"), dict):
        raise UserError(f"this {manifest.kind} artifact holds no {name!r}; run the task that made it again")
    entries = (
        replace(entry, path=entry.path.removeprefix(f"{name}/"))
        for entry in manifest.files
        if entry.path.startswith(f"{name}/")
    )
    try:
        return Manifest(kind=str(facts.get("kind")), metadata=facts["metadata"], files=tuple(entries))
    except ValueError as error:
        raise UserError(f"{name!r} of this {manifest.kind} artifact: {error}") from None
