"""Which images a pipeline's stages run in on a cluster: by digest from a lock file, from a mirror.

The lock file maps the name of an image in the compiled pipeline, without its tag, to a reference with a digest:

    {"trimtab/data": "registry.example.com/ml/trimtab/data@sha256:…", "trimtab/train": "…@sha256:…"}
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.images import DATA_IMAGE, TRAIN_IMAGE

LOCK = Path(__file__).parents[2] / "images" / "images.lock.json"
REGISTRY_VARIABLE = "TRIMTAB_REGISTRY"

_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.:/-]*?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MIRROR = re.compile(r"[a-z0-9][a-z0-9.-]*(?::[0-9]+)?(?:/[a-z0-9][a-z0-9._-]*)*")


@dataclass(frozen=True, kw_only=True)
class Images:
    """`locked`: image name → reference with a digest. `registry`: a mirror as HOST/PATH, "" is none."""

    locked: Mapping[str, str] = field(default_factory=dict)
    registry: str = ""


def read_images(lock: Path | None, registry: str) -> Images:
    """The lock file and the mirror. Without `lock`, the repository's own is used if it is there.

    Raises:
        UserError: no such lock file, one that maps to a reference without a digest, or no registry's name.
    """
    registry = registry.strip().rstrip("/")
    if registry and not _MIRROR.fullmatch(registry):
        raise UserError(f"registry {registry!r} is not of the form HOST[:PORT][/PATH], without a scheme")
    if lock is None and not LOCK.is_file():
        return Images(registry=registry)
    return Images(locked=_read_lock(lock or LOCK), registry=registry)


def _read_lock(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserError(f"the images' lock file {path} cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must map the names of images to references with a digest")
    for name, reference in content.items():
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if not match or not match["digest"]:
            raise UserError(f"{path}: {name} is {reference!r}; a lock file holds references with a digest (…@sha256:…)")
    return content


def apply_images(spec: dict[str, Any], images: Images) -> dict[str, str]:
    """Writes the images into the pipeline; returns name in the pipeline → what it is now, for what was changed."""
    changed = {}
    for executor in spec.get("deploymentSpec", {}).get("executors", {}).values():
        container = executor.get("container", {})
        before = container.get("image", "")
        after = _resolved(before, images)
        if after != before:
            container["image"] = changed[before] = after
    return changed


_OURS = frozenset(image.partition(":")[0] for image in (DATA_IMAGE, TRAIN_IMAGE))


def _resolved(image: str, images: Images) -> str:
    match = _REFERENCE.fullmatch(image)
    if not match:
        return image
    name = match["name"]
    reference = images.locked.get(name, image)
    # Other pipelines' images are theirs: a mirror holds what this project builds, and what the lock file lists.
    if not images.registry or (name not in _OURS and name not in images.locked):
        return reference
    found = _REFERENCE.fullmatch(reference)
    assert found is not None
    version = f"@{found['digest']}" if found["digest"] else f":{found['tag']}" if found["tag"] else ""
    return f"{images.registry}/{name}{version}"
