"""A release as a folder of its files, away from any store."""

import hashlib
from pathlib import Path

from components.core.bundles.onnx_bundle import FORMAT, SUFFIX, OnnxBundle, read_onnx
from components.core.bundles.release_files import PROVENANCE, SUMS, serving_names
from components.core.errors import UserError
from components.core.json_documents import parse_json


def read_release(folder: Path) -> OnnxBundle:
    """The network of a release's folder, each file of which is as `SHA256SUMS` says.

    Raises:
        UserError: no release, a file that is missing or was changed, or one that cannot be read.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        files = {name: folder / name for _, name in (line.split("  ", 1) for line in lines)}
        if any(Path(name).name != name for name in files):
            raise ValueError(f"{SUMS} names files outside of the folder")
        for line in lines:
            digest, name = line.split("  ", 1)
            if hashlib.sha256(files[name].read_bytes()).hexdigest() != digest:
                raise UserError(f"{folder}: {name} differs from the file that was released; copy the release again")
        return read_onnx(
            {name: path for name, path in files.items() if name.endswith(SUFFIX)},
            {**parse_json(files[PROVENANCE].read_bytes()), "format": FORMAT},
            {name: files[name].read_bytes() for name in serving_names(files) if not name.endswith(SUFFIX)},
        )
    except OSError as error:
        missing = Path(error.filename).name if error.filename else "a file"
        raise UserError(
            f"{folder} is not a complete release: {missing}: {(error.strerror or 'error').lower()}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} cannot be read as a release: {error}") from None
