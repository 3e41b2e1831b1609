"""Open what is to be compared: an ONNX bundle as it is, a torch model exported to float32."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest, read_manifest
from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx
from components.core.bundles.watched import Watched, watched_of
from components.core.data.seen_rows import SEEN, TRAINED_ON, read_seen
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.store import Store


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The bundle, and what is known of the artifact it came from.

    digest: the artifact's.
    seen: digests of test rows that the model was trained or chosen on.
    of_unknown_data: nothing says which rows those are, for the model comes from elsewhere.
    watched: answers of the network that its training began with, to inputs outside of the data.
    """

    bundle: OnnxBundle
    digest: str
    seen: frozenset[str] = frozenset()
    of_unknown_data: bool = False
    watched: Watched | None = None


def open_as_onnx(artifact_path: str | Path, store: "Store") -> Opened:
    """The model at an artifact's path as ONNX; of a torch model its float32 export, behind the parity check.

    Raises:
        UserError: the artifact is neither an ONNX bundle nor a torch model.
    """
    manifest = read_manifest(artifact_path)
    if manifest.kind == "onnx":
        return Opened(bundle=load_onnx(manifest, store), digest=manifest.digest)
    if manifest.kind != "model":
        raise UserError(f"{artifact_path}: cannot evaluate a {manifest.kind!r} artifact; it takes 'onnx' or 'model'")
    # torch takes seconds to import and is needed for this kind only.
    from components.core.runtime.conversion import float32_of

    bundle = float32_of(manifest, store)
    return Opened(
        bundle=bundle,
        digest=manifest.digest,
        seen=_seen(manifest, store),
        of_unknown_data=manifest.metadata.get(TRAINED_ON, "known") is None,
        watched=watched_of(manifest, bundle.task),
    )


def _seen(manifest: Manifest, store: "Store") -> frozenset[str]:
    if SEEN not in {one.path for one in manifest.files}:
        return frozenset()
    return read_seen(manifest, store)
