"""Asset files of a bundle. A separate module, because stages that read ONNX bundles may run without torch."""

from pathlib import Path

from components.core.artifacts.manifest import Manifest


def read_asset_files(manifest: Manifest, folder: Path, others: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files of an artifact that are not among `others` from `folder`; returns bytes by name."""
    return {entry.path: (folder / entry.path).read_bytes() for entry in manifest.files if entry.path not in others}
