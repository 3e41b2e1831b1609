"""The ONNX bundle: a network as it is served, and its provenance.

Files: one `<graph>.onnx` per graph (its metadata repeats the assets), the assets of the task, and `provenance.json`.
All except `provenance.json` are serving files; the release digest covers only these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, materialize, publish, read_manifest
from components.core.bundles.asset_files import read_asset_files
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store.keys import canonical_json
from components.core.tasks import Task, get_task

if TYPE_CHECKING:
    from components.core.store import Store
    from components.core.tasks.base import Assets

KIND = "onnx"
PROVENANCE = "provenance.json"
SUFFIX = ".onnx"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class OnnxBundle:
    """ONNX files with their assets and provenance.

    Attributes:
        graphs: path of each file, by name of its graph.
        assets: of the task: preprocessing, labels, …
        provenance: deterministic facts: task, scheme, source model, parity, calibration, integer share, complexity.
    """

    graphs: dict[str, Path]
    assets: "Assets"
    provenance: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task that the network is for."""
        return get_task(self.provenance["task"])

    @property
    def size_bytes(self) -> int:
        """Size of all that a client needs: the graphs on disk, and the files that they cannot do without."""
        graphs = sum(path.stat().st_size for path in self.graphs.values())
        return graphs + sum(map(len, self.assets.beside().values()))

    def serving_files(self) -> dict[str, bytes]:
        """Contents of the files that a server needs, by file name."""
        graphs = {f"{name}{SUFFIX}": path.read_bytes() for name, path in self.graphs.items()}
        return {**graphs, **self.assets.to_files()}


def save_onnx(
    artifact_path: str | Path, bundle: OnnxBundle, store: "Store", metadata: Mapping[str, Any] | None = None
) -> Manifest:
    """Publish the bundle as an "onnx" artifact.

    Args:
        artifact_path: directory of the KFP artifact.
        bundle: to publish; `provenance` must contain no time, host, path or latency.
        store: receives the files.
        metadata: further deterministic facts for the manifest.
    """
    files: dict[str, bytes | Path] = {
        **{f"{name}{SUFFIX}": path for name, path in bundle.graphs.items()},
        **bundle.assets.to_files(),
        PROVENANCE: canonical_json({"format": FORMAT, **bundle.provenance}),
    }
    return publish(artifact_path, kind=KIND, files=files, metadata=dict(metadata or {}), store=store)


def load_onnx(artifact: str | Path | Manifest, store: "Store") -> OnnxBundle:
    """Load the bundle at an artifact's path (or of its manifest); its files are fetched to local disk and verified.

    Raises:
        UserError: no such artifact, another kind, or a file in it that is missing or cannot be read.
    """
    manifest = artifact if isinstance(artifact, Manifest) else read_manifest(artifact, kind=KIND)
    manifest.entry(PROVENANCE)
    folder = materialize(manifest, store)
    try:
        return read_onnx(
            {entry.path: folder / entry.path for entry in manifest.files if entry.path.endswith(SUFFIX)},
            parse_json((folder / PROVENANCE).read_bytes()),
            read_asset_files(manifest, folder, tuple(e.path for e in manifest.files if e.path.endswith(SUFFIX))),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"onnx bundle {manifest.digest[:12]} cannot be read: {error}") from None


def read_onnx(graphs: Mapping[str, Path], provenance: Any, files: Mapping[str, bytes]) -> OnnxBundle:
    """Build the bundle from ONNX files by file name, the content of provenance.json and the other files.

    Raises:
        ValueError: no graph, another format, or assets that the task does not read.
    """
    if not isinstance(provenance, dict) or provenance.get("format") != FORMAT:
        raise ValueError(f"{PROVENANCE} must have format {FORMAT}")
    if not graphs:
        raise ValueError(f"it has no {SUFFIX} file")
    facts = {name: fact for name, fact in provenance.items() if name != "format"}
    return OnnxBundle(
        graphs={name.removesuffix(SUFFIX): path for name, path in sorted(graphs.items())},
        assets=get_task(str(facts.get("task"))).read_assets(files),
        provenance=facts,
    )
