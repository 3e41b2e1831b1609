"""The files of a bundle's assets. Apart from the bundles, for a stage that reads ONNX bundles may have no torch."""

from pathlib import Path

from components.core.artifacts.manifest import Manifest


def read_asset_files(manifest: Manifest, folder: Path, others: tuple[str, ...]) -> dict[str, bytes]:
    """The files of an artifact that are not among `others`, by name, from the folder where they lie."""
    return {entry.path: (folder / entry.path).read_bytes() for entry in manifest.files if entry.path not in others}
