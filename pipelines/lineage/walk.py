"""The walk from a release to the raw data."""

from collections.abc import Mapping
from typing import Any

from components.core.artifacts.manifest import Manifest
from components.core.store import Store
from pipelines.lineage.artifacts import Bytes
from pipelines.lineage.links import Link
from pipelines.lineage.records import Made, Records
from pipelines.lineage.release import ReleaseFiles

_FACTS = ("stage", "backbone", "scheme", "macs_fraction", "rows", "counts", "fingerprint")
_PARENTS = ("dataset", "model", "teacher", "student", "source_model")
"""Keys of a manifest's metadata that name the artifacts it was made of, each by its digest."""

_RENAMED = {"source_model": "model"}
"""Name of an input in a manifest → its name in the task that made it."""


def trace(store: Store, name: str, version: str) -> Link:
    """The release with all that it was made of, each link verified.

    Args:
        store: holds the release, the journal of the run that made it, and the blobs.
        name: of a release that is there.
        version: of it.
    """
    return _Walk(store).release(name, version)


class _Walk:
    """State while one release is traced."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = Records(store)
        self._bytes = Bytes(store)
        self._met: dict[str, Link] = {}

    def release(self, name: str, version: str) -> Link:
        files = ReleaseFiles(self._store, name, version)
        graphs = [digest for file, digest in sorted(files.digests.items()) if file.endswith(".onnx")]
        link = Link(title=f"{name}/{version}", kind="release", digest=graphs[0] if len(graphs) == 1 else "")
        link.problems += files.problems
        made, problem = self._publisher(name, version, files)
        if problem:
            link.problems.append(problem)
        if made is not None:
            link.made_by = made.name
            if made.problem:
                link.problems.append(made.problem)
        for title, digest in files.artifacts.items():
            found = self._artifact(title, digest)
            link.inputs.append(found)
            if found.kind == "onnx":
                link.problems += self._differing(files, digest)
        return link

    def _publisher(self, name: str, version: str, files: ReleaseFiles) -> tuple[Made | None, str]:
        """The export task that published these very files from these very artifacts."""
        candidates = self._records.publishers(name, version)
        for made in candidates:
            given = {digest for digests in made.inputs.values() for digest in digests}
            if set(files.artifacts.values()) <= given:
                return made, ""
        if candidates:
            return candidates[0], "no run that published it was given the artifacts that its provenance names"
        reasons = "".join(f"; {reason}" for reason in self._records.unreadable.values())
        return None, f"no task in the store's journal says that it published it{reasons}"

    def _differing(self, files: ReleaseFiles, digest: str) -> list[str]:
        """Serving files of the release whose bytes are not those of the bundle they come from."""
        _, manifest = self._records.maker(digest)
        theirs = {entry.path: entry.sha256 for entry in manifest.files} if manifest else {}
        return [
            f"{file} is not that of the ONNX bundle {digest[:12]}"
            for file in files.served
            if file in theirs and file in files.digests and theirs[file] != files.digests[file]
        ]

    def _artifact(self, title: str, digest: str) -> Link:
        if digest in self._met:
            first = self._met[digest]
            return Link(title=title, kind=first.kind, digest=digest, made_by=first.made_by, repeated=True)
        made, manifest = self._records.maker(digest)
        link = self._met[digest] = Link(title=title, kind=manifest.kind if manifest else "unknown", digest=digest)
        if made is None or manifest is None:
            reasons = "".join(f"; {reason}" for reason in self._records.unreadable.values())
            link.problems.append(f"no record in the store's journal has the manifest of this digest{reasons}")
            return link
        link.made_by = made.name
        if made.problem:
            link.problems.append(made.problem)
        link.problems += self._bytes.problems(manifest)
        link.problems += _contradictions(manifest, made)
        link.facts = {key: manifest.metadata[key] for key in _FACTS if key in manifest.metadata}
        for name, digests in made.inputs.items():
            link.inputs += [self._artifact(name, given) for given in digests]
        for key in _PARENTS:
            parent = manifest.metadata.get(key)
            if isinstance(parent, str) and _RENAMED.get(key, key) not in made.inputs:
                link.inputs.append(self._artifact(key, parent))
        link.inputs += _from_outside(manifest, made.record)
        return link


def _contradictions(manifest: Manifest, made: Made) -> list[str]:
    """Inputs that the artifact's own manifest names otherwise than the journal does."""
    problems = []
    for key, value in manifest.metadata.items():
        given = made.inputs.get(_RENAMED.get(key, key))
        if given is not None and isinstance(value, str) and value not in given:
            problems.append(f"its manifest says that its {key} was {value[:12]}, the journal {given[0][:12]}")
    return problems


def _from_outside(manifest: Manifest, record: Mapping[str, Any]) -> list[Link]:
    """Links to things outside of the store: the raw data of a dataset, and the weights that a network began with."""
    parameters = record.get("parameters") or {}
    # One that a teacher has rewritten was made of another, which has the raw data.
    if manifest.kind == "dataset" and "dataset" not in manifest.metadata:
        facts = {"dataset": parameters.get("dataset"), "state of its listing": parameters.get("dataset_state")}
        facts = {key: value for key, value in facts.items() if value}
        digest = str(manifest.metadata.get("fingerprint"))
        # Not recorded only: its rows, which are in the store, were read, and they have this fingerprint.
        return [Link(title="raw data", kind="raw data", digest=digest, facts=facts)]
    weights = manifest.metadata.get("weights_sha256")
    if weights:
        return [Link(title="pretrained weights", kind="pretrained weights", digest=str(weights), recorded_only=True)]
    return []
