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
from components.core.split_part import SplitPart, all_parts

if TYPE_CHECKING:
    from components.core.store import Store

_ADDED_BY_EXPORT = ("verification", "artifacts", "format")


@dataclass(frozen=True, kw_only=True)
class ServedChampion:
    """The champion: its release, since when (ISO 8601), the state of its ref, its sources, and its files by name.

    `prepared` is the ref of the data set that was prepared last for this champion, and `latest` that data set. `anchor`
    is what no challenger may fall behind. `part_uses` says of each part of the test split how many releases of this
    name it has measured, and `part` which one is next.
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
    part_uses: tuple[int, ...]

    @property
    def part(self) -> SplitPart:
        """The part that has measured the fewest, the first of equals."""
        return SplitPart(number=self.part_uses.index(min(self.part_uses)) + 1, of=len(self.part_uses))


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


def read_incumbent(store: "Store", ref: str, *, test_parts: int = 1) -> ServedChampion:
    """The champion of `ref`, every file of it verified.

    Args:
        store: where it is.
        ref: its name.
        test_parts: parts that the test split is cut into.

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
        part_uses=count_uses(store, step.name, test_parts),
    )


def count_uses(store: "Store", name: str, parts: int) -> tuple[int, ...]:
    """Of each of so many parts of the test split, how many releases of this name it has measured.

    A release says in its judgement which part that was. Without one, as the first release, it was the whole split; and
    a part of another number of parts counts for each that it may share rows with.
    """
    released = [version for found, version in store.releases.list() if found == name]
    if parts == 1:
        return (len(released),)
    measured = [_part_of(store, name, version) for version in released]
    return tuple(sum(part.overlaps(one) for one in measured) for part in all_parts(parts))


def _part_of(store: "Store", name: str, version: str) -> SplitPart:
    if RETRAINING not in store.releases.files(name, version):
        return SplitPart()
    part = json.loads(store.releases.read(name, version, RETRAINING)).get("test_part")
    return SplitPart(number=part["number"], of=part["of"]) if part else SplitPart()


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
