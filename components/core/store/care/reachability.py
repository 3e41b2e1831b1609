"""The objects of a store that are still needed: all that refs, releases and recent records lead to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from components.core.store.backends.objects import Listed, Objects
from components.core.store.concurrency import run_all
from components.core.store.contents.blobs import Blobs
from components.core.store.contents.journal import output_manifests
from components.core.store.contents.listings import listings_in, read_listing
from components.core.store.contents.releases import MARKER
from components.core.store.errors import BlobDamaged, BlobMissing, Damaged, NotFound
from components.core.store.records import decode

MANIFEST = "manifest.json"
"""An artifact's file of this name says which blobs hold its bytes."""

SOURCES = "sources.json"
"""A release's file of this name holds the manifests of what it was made from."""

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_INDEX = "index.json"


@dataclass(kw_only=True)
class Marked:
    """Result of a mark.

    Attributes:
        digests: the blobs that are needed, and other digests that the same documents name.
        results: records of results that are not needed.
        indices: indices of checkpoints that are not needed.
        checkpoints: files of checkpoints that are not needed.
    """

    digests: set[str] = field(default_factory=set)
    results: list[Listed] = field(default_factory=list)
    indices: list[Listed] = field(default_factory=list)
    checkpoints: list[Listed] = field(default_factory=list)


def mark(objects: Objects, *, keep_since: float, roots: Iterable[Any] = ()) -> Marked:
    """Follows everything that is needed.

    Needed is what is named by a ref; by the sources of a release, and by the journal of a run that published it; by a
    journal, or a result, that was written or used since `keep_since`; by `roots`; by the manifests of a result's
    artifacts; and by the listings of all these manifests.
    Any digest in such a document counts: to keep too much costs space, to keep too little costs the release.

    Args:
        objects: the store's.
        keep_since: seconds since the epoch.
        roots: digests of blobs, or documents that name them, of somebody else who needs them.

    Raises:
        Damaged: a ref, a release's sources, a journal's record or a listing that these name cannot be read, so nobody
            knows what it needs.
    """
    marked = Marked()
    for root in roots:
        marked.digests |= _needed_by(objects, root)
    sources = [listed for listed in objects.walk("releases") if listed.key.endswith(f"/{SOURCES}")]
    for found in run_all(lambda listed: _named_by(objects, listed), [*objects.walk("refs"), *sources]):
        marked.digests |= found
    _mark_journals(objects, marked, keep_since)
    _mark_results(objects, marked, keep_since)
    _mark_checkpoints(objects, marked, keep_since)
    return marked


def digests_in(document: Any) -> Iterator[str]:
    """Every string anywhere in a JSON document that is a sha256 in hex, with or without `sha256:` before it."""
    if isinstance(document, str):
        if match := _DIGEST.fullmatch(document):
            yield match[1]
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from digests_in(key)
            yield from digests_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from digests_in(value)


def manifests_in(document: Any) -> Iterator[str]:
    """The digest of every file called `manifest.json` that a result's record lists."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == MANIFEST and isinstance(value, str) and _DIGEST.fullmatch(value):
                yield value
            else:
                yield from manifests_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from manifests_in(value)


def _needed_by(objects: Objects, document: Any) -> set[str]:
    """The digests that a document names, and those that the listings of its manifests name.

    A listing that is missing, or no listing, names nothing: nobody can read that artifact.

    Raises:
        BlobDamaged: a listing cannot be read.
    """
    found = set(digests_in(document))
    for digest in set(listings_in(document)):
        try:
            found |= set(digests_in(read_listing(Blobs(objects), digest)))
        except BlobDamaged:
            raise
        except (BlobMissing, Damaged):
            continue
    return found


def blobs_of_result(objects: Objects, record: dict[str, Any]) -> set[str]:
    """The digests that a result's record names, and those that the manifests among its files and their listings name.

    A manifest or listing that is missing or damaged names nothing: its result cannot be used any more.
    """
    found = set(digests_in(record))
    for digest in manifests_in(record):
        with suppress(BlobMissing, Damaged):  # a file of this name that is no document names nothing either
            document = decode(Blobs(objects).get(digest), objects=objects, key=digest)
            found |= _needed_by(objects, document)
    return found


def releases_of(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, version) of every release that the task of this journal record published, or found published."""
    for manifest in output_manifests(record):
        facts = manifest.get("metadata")
        if manifest.get("kind") == "release" and isinstance(facts, dict):
            yield str(facts.get("name")), str(facts.get("version"))


def _named_by(objects: Objects, listed: Listed) -> set[str]:
    return _needed_by(objects, _document(objects, listed.key) or {})


def _document(objects: Objects, key: str) -> dict[str, Any] | None:
    """None if it was deleted since it was listed."""
    try:
        return decode(objects.get(key).data, objects=objects, key=key)
    except NotFound:
        return None


def _mark_journals(objects: Objects, marked: Marked, keep_since: float) -> None:
    runs: dict[str, list[Listed]] = defaultdict(list)
    for listed in objects.walk("journal"):
        runs[listed.key.split("/")[1]].append(listed)
    published = frozenset(
        (parts[1], parts[2])
        for parts in (listed.key.split("/") for listed in objects.walk("releases"))
        if len(parts) == 4 and parts[3] == MARKER
    )
    for records in runs.values():
        recent = any(listed.modified >= keep_since for listed in records)
        if recent or published:
            marked.digests |= _named_by_run(objects, records, recent, published)


def _named_by_run(
    objects: Objects, records: list[Listed], recent: bool, published: Collection[tuple[str, str]]
) -> set[str]:
    documents = [document for document in run_all(lambda one: _document(objects, one.key), records) if document]
    if not recent and not any(release in published for record in documents for release in releases_of(record)):
        return set()
    return _needed_by(objects, documents)


def _mark_results(objects: Objects, marked: Marked, keep_since: float) -> None:
    kept: list[Listed] = []
    for listed in objects.walk("results"):
        (kept if listed.modified >= keep_since else marked.results).append(listed)

    def named(listed: Listed) -> set[str]:
        try:
            record = _document(objects, listed.key)
        except Damaged:
            return set()  # it will never be found again, so nothing of it will be asked for
        return blobs_of_result(objects, record) if record else set()

    for found in run_all(named, kept):
        marked.digests |= found


def _mark_checkpoints(objects: Objects, marked: Marked, keep_since: float) -> None:
    keys: dict[str, list[Listed]] = defaultdict(list)
    for listed in objects.walk("checkpoints"):
        keys[listed.key.split("/")[1]].append(listed)
    for files in keys.values():
        index = next((one for one in files if one.key.count("/") == 2 and one.key.endswith(f"/{_INDEX}")), None)
        current = ""
        if index is not None and index.modified >= keep_since:
            with suppress(Damaged):
                current = str((_document(objects, index.key) or {}).get("generation"))
        elif index is not None:
            marked.indices.append(index)
        # Of another generation, or of none: what a killed writer left.
        marked.checkpoints += [
            listed
            for listed in files
            if listed != index and listed.modified < keep_since and (not current or listed.key.split("/")[2] != current)
        ]
