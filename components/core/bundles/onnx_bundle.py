"""The ONNX bundle: a network as it will be served, with where it came from.

Files: `model.onnx` (preprocessing and labels also in its metadata), `preprocess.json`, `labels.json`,
`provenance.json`. The first three are the serving files: a release's digest is taken over them alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, materialize, publish, read_manifest
from components.core.errors import UserError
from components.core.store.keys import canonical_json
from components.core.tasks.images.preprocess import Preprocess

if TYPE_CHECKING:
    from components.core.store import Store

KIND = "onnx"
MODEL, PREPROCESS, LABELS, PROVENANCE = "model.onnx", "preprocess.json", "labels.json", "provenance.json"
SERVING_FILES = (MODEL, LABELS, PREPROCESS)
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class OnnxBundle:
    """An ONNX file and what belongs to it.

    Attributes:
        model: path of the file.
        preprocess: how an image becomes its input.
        labels: class names in the order of the logits.
        provenance: deterministic facts: task, scheme, source model, parity, calibration, integer share, complexity.
    """

    model: Path
    preprocess: Preprocess
    labels: list[str]
    provenance: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Size of the file on disk."""
        return self.model.stat().st_size


def save_onnx(
    artifact_path: str | Path, bundle: OnnxBundle, store: "Store", metadata: Mapping[str, Any] | None = None
) -> Manifest:
    """Publish the bundle as an "onnx" artifact.

    Args:
        artifact_path: directory of the KFP artifact.
        bundle: what to publish; `provenance` must hold no time, host, path or latency.
        store: where the bytes go.
        metadata: further deterministic facts for the manifest.
    """
    files: dict[str, bytes | Path] = {
        MODEL: bundle.model,
        PREPROCESS: canonical_json(bundle.preprocess.to_json()),
        LABELS: canonical_json(list(bundle.labels)),
        PROVENANCE: canonical_json({"format": FORMAT, **bundle.provenance}),
    }
    return publish(artifact_path, kind=KIND, files=files, metadata=dict(metadata or {}), store=store)


def load_onnx(artifact: str | Path | Manifest, store: "Store") -> OnnxBundle:
    """The bundle at an artifact's path (or of its manifest), its file on local disk and verified.

    Raises:
        UserError: no such artifact, another kind, or a file in it that cannot be read.
    """
    manifest = artifact if isinstance(artifact, Manifest) else read_manifest(artifact, kind=KIND)
    for name in (MODEL, PREPROCESS, LABELS, PROVENANCE):
        manifest.entry(name)
    folder = materialize(manifest, store)
    try:
        preprocess = Preprocess.from_json(json.loads((folder / PREPROCESS).read_bytes()))
        labels = [str(label) for label in json.loads((folder / LABELS).read_bytes())]
        provenance = json.loads((folder / PROVENANCE).read_bytes())
        if provenance.pop("format", None) != FORMAT:
            raise ValueError(f"{PROVENANCE} must have format {FORMAT}")
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"onnx bundle {manifest.digest[:12]} cannot be read: {error}") from None
    return OnnxBundle(model=folder / MODEL, preprocess=preprocess, labels=labels, provenance=provenance)
