"""The champion out of the store: the released file as it is served, and what it was made from."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest
from components.core.bundles.onnx_bundle import PROVENANCE, SUFFIX, read_onnx, save_onnx
from components.core.bundles.release_files import serving_names
from components.core.bundles.released_sources import read_sources
from components.core.data.last_prepared import load_last_prepared
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.store import Store

_ADDED_BY_EXPORT = ("verification", "artifacts", "format")


@dataclass(frozen=True, kw_only=True)
class ServedChampion:
    """The champion: its release, since when (ISO 8601), the state of its ref, its sources, and its files by name.

    `prepared` is the ref of the data set that was prepared last for this champion, and `latest` that data set.
    """

    name: str
    version: str
    since: str
    state: str
    model: Manifest
    dataset: Manifest
    prepared: str
    latest: Manifest
    files: dict[str, bytes]


def read_incumbent(store: "Store", ref: str) -> ServedChampion:
    """The champion of `ref`, every file of it verified.

    Raises:
        UserError: there is no champion yet; its release is not whole, or does not say what it was made from.
    """
    champion = store.champions.read(ref)
    if champion is None:
        raise UserError(
            f"there is no champion {ref!r} in {store.uri} to retrain; release a first one with trimtab run optimize, "
            "look at it, and promote it with trimtab promote NAME/VERSION --why TEXT"
        )
    step = champion.step
    store.champions.check_whole(step.name, step.version)
    there = store.releases.files(step.name, step.version)
    sources = read_sources(store, step.name, step.version)
    if missing := {"model", "dataset"} - set(sources):
        raise UserError(
            f"release {step.release} does not name its {' and '.join(sorted(missing))}; it is not retrained"
        )
    files = {name: store.releases.read(step.name, step.version, name) for name in (*serving_names(there), PROVENANCE)}
    prepared = f"prepared/{ref}"
    return ServedChampion(
        name=step.name,
        version=step.version,
        since=step.when,
        state=champion.state,
        model=sources["model"],
        dataset=sources["dataset"],
        prepared=prepared,
        latest=load_last_prepared(store, prepared) or sources["dataset"],
        files=files,
    )


def save_served(artifact_path: str | Path, incumbent: ServedChampion, store: "Store") -> Manifest:
    """Publishes the released file as an "onnx" artifact, so that what serves is evaluated like any other candidate."""
    provenance: dict[str, Any] = json.loads(incumbent.files[PROVENANCE])
    facts = {name: fact for name, fact in provenance.items() if name not in _ADDED_BY_EXPORT}
    with tempfile.TemporaryDirectory(prefix="trimtab-incumbent-") as folder:
        graphs = {}
        for name in (name for name in incumbent.files if name.endswith(SUFFIX)):
            graphs[name] = Path(folder) / name
            graphs[name].write_bytes(incumbent.files[name])
        try:
            bundle = read_onnx(graphs, {**facts, "format": 1}, incumbent.files)
        except ValueError as error:
            raise UserError(f"release {incumbent.name}/{incumbent.version} cannot be read: {error}") from None
        return save_onnx(artifact_path, bundle, store)
