"""The champion out of the store: the released file as it is served, and what it was made from."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest
from components.core.bundles.onnx_bundle import PROVENANCE, SUFFIX, read_onnx, save_onnx
from components.core.bundles.release_files import RETRAINING, serving_names
from components.core.bundles.released_sources import read_sources
from components.core.data.last_prepared import load_last_prepared
from components.core.errors import UserError
from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import ReleasedJudgement
from components.core.json_documents import parse_object
from components.core.retraining import Anchor
from components.core.split_part import SplitPart, all_parts
from components.core.store import NotFound, StoreUnavailable
from components.core.store.contents.champions import PROMOTED, Champion, Step

if TYPE_CHECKING:
    from components.core.store import Store

_ADDED_BY_EXPORT = ("verification", "artifacts", "format")


@dataclass(frozen=True, kw_only=True)
class ServedRelease:
    """A release: its name, version, sources ("model", "dataset"), and what serves it, files by name."""

    name: str
    version: str
    sources: dict[str, Manifest]
    files: dict[str, bytes]

    @property
    def release(self) -> str:
        """`name/version`"""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class ServedChampion:
    """The champion, since when (ISO 8601), the state of its ref, and what else a challenger is held against.

    `prepared` is the ref of the data set that was prepared last for this champion, and `latest` that data set.
    `anchors` are the best release that is proven and the first one of the year. `part_uses` says of each part of the
    test split how many releases of this name it has measured, and `part` which one is next.
    """

    champion: ServedRelease
    since: str
    state: str
    prepared: str
    latest: Manifest
    anchors: tuple[tuple[Anchor, ServedRelease], tuple[Anchor, ServedRelease]]
    part_uses: tuple[int, ...]

    @property
    def part(self) -> SplitPart:
        """The part that has measured the fewest, the first of equals."""
        return SplitPart(number=self.part_uses.index(min(self.part_uses)) + 1, of=len(self.part_uses))


def read_incumbent(store: "Store", ref: str, *, test_parts: int = 1, year: int | None = None) -> ServedChampion:
    """The champion of `ref` and its anchors, every file of them verified.

    Args:
        store: where they are.
        ref: the champion's name.
        test_parts: parts that the test split is cut into.
        year: of the retraining, UTC; None: this one.

    Raises:
        UserError: there is no champion yet; its release or an anchor is not whole, or does not say what it was made
            from. An anchor that was deleted is none: the champion stands in for it.
    """
    champion = store.champions.read(ref)
    if champion is None:
        raise UserError(
            f"there is no champion {ref!r} in {store.uri} to retrain; release a first one with trimtab run optimize, "
            "look at it, and promote it with trimtab promote NAME/VERSION --why TEXT"
        )

    @cache
    def read(release: str) -> ServedRelease:
        return read_release(store, release)

    def hold(title: str, release: str) -> tuple[Anchor, ServedRelease]:
        name, _, version = release.partition("/")
        try:
            store.releases.files(name, version)
        except NotFound:
            return Anchor(title=title, release=step.release, deleted=release), read(step.release)
        try:
            return Anchor(title=title, release=release), read(release)
        except StoreUnavailable:
            raise
        except UserError as error:
            raise UserError(
                f"{error}; challengers are also compared with this release, the {title}: restore its files, or "
                "delete the whole release"
            ) from None

    step, prepared = champion.step, f"prepared/{ref}"
    now = read(step.release)
    proven = hold("best proven release", proven_release(store, champion))
    first = hold(*first_of_year(champion.history, year or datetime.now(UTC).year))
    return ServedChampion(
        champion=now,
        since=step.when,
        state=champion.state,
        prepared=prepared,
        latest=load_last_prepared(store, prepared) or now.sources["dataset"],
        anchors=(proven, first),
        part_uses=count_uses(store, step.name, test_parts),
    )


def read_release(store: "Store", release: str) -> ServedRelease:
    """A release, name/version, every file of it verified.

    Raises:
        UserError: it is not whole, or does not say what it was made from.
    """
    name, _, version = release.partition("/")
    store.champions.check_whole(name, version)
    sources = read_sources(store, name, version)
    if missing := {"model", "dataset"} - set(sources):
        raise UserError(f"release {release} does not name its {' and '.join(sorted(missing))}; it is not retrained")
    there = store.releases.files(name, version)
    files = {file: store.releases.read(name, version, file) for file in (*serving_names(there), PROVENANCE)}
    return ServedRelease(name=name, version=version, sources=sources, files=files)


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
    return _judgement_of(store, name, version).test_part or SplitPart()


def _judgement_of(store: "Store", name: str, version: str) -> ReleasedJudgement:
    where = f"{RETRAINING} of release {name}/{version}"
    return read_fields(ReleasedJudgement, parse_object(store.releases.read(name, version, RETRAINING), where), where)


def proven_release(store: "Store", champion: Champion) -> str:
    """The best release that is proven, name/version.

    The champion's own judgement names it: that of its contest, or the champion itself if it was proven better than
    that. A release that a person promoted is its own.
    """
    step = champion.step
    promoted = next(one for one in reversed(champion.history) if (one.release, one.action) == (step.release, PROMOTED))
    judged = promoted.run and RETRAINING in store.releases.files(step.name, step.version)
    following = _judgement_of(store, step.name, step.version).next_anchor if judged else None
    return f"{following.name}/{following.version}" if following else step.release


def first_of_year(history: Sequence[Step], year: int) -> tuple[str, str]:
    """Title of the anchor of this year, and its release as name/version.

    It was the champion when the year began or, if there was none, became the first. Whoever changes the champion by
    hand sets a new beginning: the change is meant, and the classes may be others than before.
    """
    first = history[0]
    for step in history[1:]:
        if not step.run or int(step.when[:4]) < year:
            first = step
    if first is history[0] or int(first.when[:4]) < year:
        return f"first release of {year}", first.release
    return f"release chosen by hand on {first.when[:10]}", first.release


def save_served(artifact_path: str | Path, released: ServedRelease, store: "Store") -> Manifest:
    """Publishes the released file as an "onnx" artifact, so that what serves is evaluated like any other candidate."""
    provenance = parse_object(released.files[PROVENANCE], f"{PROVENANCE} of release {released.release}")
    facts = {name: fact for name, fact in provenance.items() if name not in _ADDED_BY_EXPORT}
    with tempfile.TemporaryDirectory(prefix="trimtab-incumbent-") as folder:
        graphs = {}
        for name in (name for name in released.files if name.endswith(SUFFIX)):
            graphs[name] = Path(folder) / name
            graphs[name].write_bytes(released.files[name])
        try:
            bundle = read_onnx(graphs, {**facts, "format": 1}, released.files)
        except ValueError as error:
            raise UserError(f"release {released.release} cannot be read: {error}") from None
        return save_onnx(artifact_path, bundle, store)
