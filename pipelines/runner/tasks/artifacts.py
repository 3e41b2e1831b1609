"""What the runner does with artifacts besides keeping them: showing them to a component, and finding them again."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.results.payload import content_digest, is_remote, local_path, payload_at


def public(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact as a component sees it."""
    return {key: artifact[key] for key in ("name", "type", "uri", "metadata") if key in artifact}


def is_in_place(artifact: Mapping[str, Any]) -> bool:
    """Whether an artifact's bytes are still where they were written, unchanged; remote ones are taken to be."""
    if is_remote(artifact):
        return True
    payload = payload_at(Path(local_path(artifact["uri"])))
    return bool(content_digest(artifact, payload) == artifact.get("content"))


def take_custom_path(artifact: dict[str, Any], custom_path: str, place: Path) -> None:
    """A component may write to a path of its own choice (`artifact.custom_path`); its bytes come to their place."""
    source = Path(custom_path)
    if not source.exists() or source == place:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, place)
    artifact["uri"] = str(place)
