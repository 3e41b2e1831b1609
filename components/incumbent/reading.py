"""The champion out of the store: the released file as it is served, and what it was made from."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest
from components.core.bundles.onnx_bundle import PROVENANCE, SUFFIX, read_onnx, save_onnx
from components.core.bundles.release_files import RETRAINING, serving_names
from components.core.bundles.released_sources import read_sources
from components.core.data.last_prepared import load_last_prepared
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.store import Store

_ADDED_BY_EXPORT = ("verification", "artifacts", "format")


@dataclass(frozen=True, kw_only=True)
class ServedChampion:
    """The champion: its release, since when (ISO 8601), the state of its ref, its sources, and its files by name.

    `prepared` is the ref of the data set that was prepared last for this champion, and `latest` that data set. `anchor`
    is what no challenger may fall behind, and `contests` how many releases of this name were measured on test data.
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
    anchor: "Anchor"
    contests: int


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The best release that is proven: its name, version, data set, and files by name."""

    name: str
    version: str
    dataset: Manifest
    files: dict[str, bytes]

    @property
    def release(self) -> str:
        """`name/version`"""
        return f"{self.name}/{self.version}"


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
    sources = read_sources(store, step.name, step.version)
    if missing := {"model", "dataset"} - set(sources):
        raise UserError(
            f"release {step.release} does not name its {' and '.join(sorted(missing))}; it is not retrained"
        )
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
        files=_served_files(store, step.name, step.version),
        anchor=read_anchor(store, step.name, step.version),
        contests=sum(name == step.name for name, _ in store.releases.list()),
    )


def read_anchor(store: "Store", name: str, version: str) -> Anchor:
    """What a challenger of this champion must not fall behind, every file of it verified.

    The champion's own judgement names it: the anchor of that contest, or the champion itself if it was proven better
    than that. A release that no retraining made is its own anchor, for a person promoted it.

    Raises:
        UserError: the anchor is not a whole release, or does not say what it was made from.
    """
    if RETRAINING in store.releases.files(name, version):
        judged = json.loads(store.releases.read(name, version, RETRAINING))
        if following := judged.get("next_anchor"):
            name, version = following["name"], following["version"]
    store.champions.check_whole(name, version)
    dataset = read_sources(store, name, version).get("dataset")
    if dataset is None:
        raise UserError(f"release {name}/{version}, which the champion is held against, does not name its dataset")
    return Anchor(name=name, version=version, dataset=dataset, files=_served_files(store, name, version))


def _served_files(store: "Store", name: str, version: str) -> dict[str, bytes]:
    there = store.releases.files(name, version)
    return {file: store.releases.read(name, version, file) for file in (*serving_names(there), PROVENANCE)}


def save_served(artifact_path: str | Path, incumbent: ServedChampion | Anchor, store: "Store") -> Manifest:
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
