"""Reads everything in a store and says what is damaged or missing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.core.json_documents import parse_json
from components.core.store.backends.objects import Listed, Objects
from components.core.store.care.reachability import MANIFEST, SOURCES
from components.core.store.concurrency import run_all
from components.core.store.contents.blobs import BLOB_FOLDER, Blobs, blob_key
from components.core.store.contents.listings import listings_in, read_listing
from components.core.store.contents.releases import Releases
from components.core.store.errors import BlobDamaged, BlobMissing, Damaged, NotFound
from components.core.store.records import decode

QUARANTINE = "quarantine"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Attributes:
        key: the object that is damaged, or that refers to what is not there.
        problem: what is wrong with it.
        damaged: whether the object's own bytes are wrong.
        moved_to: the key that it was moved to, if it was.
    """

    key: str
    problem: str
    damaged: bool
    moved_to: str = ""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Result of a verification: objects per kind that were read, bytes of blobs, and findings."""

    looked_at: dict[str, int]
    blob_bytes: int
    findings: list[Finding]


def verify(
    objects: Objects, *, quarantine: bool = False, tell: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Hashes every blob and the files of every release, reads every record, and looks for all that they refer to.

    A store may be written to meanwhile: what is new is not looked at, and what is deleted is no damage.

    Args:
        objects: the store's.
        quarantine: move damaged blobs, results and journal records to `quarantine/`, so that nobody finds them: what
            needs them is computed again. Releases and refs stay where they are, for people depend on them.
        tell: hears bytes of blobs that were read, and all there are.
    """
    blobs = list(objects.walk(BLOB_FOLDER))
    total, done = sum(blob.size for blob in blobs), 0
    findings: list[Finding] = []

    def check(blob: Listed) -> Finding | None:
        nonlocal done
        finding = _check_blob(objects, blob)
        done += blob.size
        tell(done, total)
        return finding

    findings += filter(None, run_all(check, blobs))
    damaged = {finding.key for finding in findings}
    whole = {blob.key for blob in blobs} - damaged
    results = list(objects.walk("results"))
    for found in run_all(lambda listed: list(_check_result(objects, listed, whole, damaged)), results):
        findings += found
    journal = list(objects.walk("journal"))
    findings += filter(None, run_all(lambda listed: _check_document(objects, listed), journal))
    releases = Releases(objects).list()
    findings += filter(None, run_all(lambda one: _check_release(objects, *one), releases))
    for name, version in releases:
        findings += _check_sources(objects, name, version)
    refs = list(objects.walk("refs"))
    findings += filter(None, run_all(lambda listed: _check_ref(objects, listed, releases), refs))
    if quarantine:
        findings = [_quarantined(objects, finding) for finding in findings]
    looked_at = {
        "blobs": len(blobs), "results": len(results), "journal records": len(journal), "releases": len(releases),
        "refs": len(refs),
    }  # fmt: skip
    return Verified(looked_at=looked_at, blob_bytes=total, findings=findings)


def _check_blob(objects: Objects, blob: Listed) -> Finding | None:
    digest = blob.key.rpartition("/")[2]
    if len(digest) != 64 or set(digest) - set("0123456789abcdef") or blob.key != blob_key(digest):
        return Finding(key=blob.key, problem="its name is no sha256 in its folder", damaged=True)
    actual = hashlib.sha256()
    try:
        for chunk in objects.stream(blob.key):
            actual.update(chunk)
    except NotFound:
        return None  # collected since it was listed
    except Damaged:
        return Finding(key=blob.key, problem="its content does not have its checksum", damaged=True)
    if actual.hexdigest() != digest:
        return Finding(key=blob.key, problem="its content does not have the sha256 in its name", damaged=True)
    return None


def _check_result(objects: Objects, listed: Listed, whole: set[str], damaged: set[str]) -> Iterator[Finding]:
    try:
        record = decode(objects.get(listed.key).data, objects=objects, key=listed.key)
    except NotFound:
        return
    except Damaged:
        yield Finding(key=listed.key, problem="it is not a JSON object", damaged=True)
        return
    for name, digest, size in _named_blobs(objects, record):
        key = blob_key(digest)
        if key in damaged:
            yield Finding(key=listed.key, problem=f"its {name}, blob {digest}, is damaged", damaged=False)
            continue
        there = key in whole
        with suppress(BlobMissing):
            if not there or size is not None:  # put since the listing, perhaps
                actual, there = Blobs(objects).size(digest), True
                if size not in (None, actual):
                    problem = f"its {name}, blob {digest}, has {actual} bytes instead of {size}"
                    yield Finding(key=listed.key, problem=problem, damaged=False)
        if not there:
            yield Finding(key=listed.key, problem=f"its {name}, blob {digest}, is not there", damaged=False)


def _named_blobs(objects: Objects, record: dict[str, Any]) -> Iterator[tuple[str, str, int | None]]:
    """(name, digest, bytes if they are known) of each blob that a result's artifacts and their manifests name."""
    artifacts = record.get("output_artifacts")
    items = [item for listed in artifacts.values() for item in listed] if isinstance(artifacts, dict) else []
    for item in items:
        for name, digest in item.get("files", {}).items():
            yield name or "file", digest, None
            if name == MANIFEST:
                yield from _named_by_manifest(objects, digest)


def _named_by_manifest(objects: Objects, digest: str) -> Iterator[tuple[str, str, int | None]]:
    try:
        document = decode(Blobs(objects).get(digest), objects=objects, key=blob_key(digest))
    except (BlobMissing, BlobDamaged, Damaged):
        return
    yield from _entries(document.get("files"))
    for listing in listings_in(document):
        yield "listing", listing, None
        with suppress(BlobMissing, Damaged):  # which the blob itself, or the line above, says
            yield from _entries(read_listing(Blobs(objects), listing))


def _entries(files: Any) -> Iterator[tuple[str, str, int]]:
    for entry in files if isinstance(files, list) else ():
        if isinstance(entry, dict) and {"path", "bytes", "sha256"} <= entry.keys():
            yield entry["path"], entry["sha256"], entry["bytes"]


def _check_document(objects: Objects, listed: Listed) -> Finding | None:
    try:
        decode(objects.get(listed.key).data, objects=objects, key=listed.key)
    except NotFound:
        return None
    except Damaged:
        return Finding(key=listed.key, problem="it is not a JSON object", damaged=True)
    return None


def _check_release(objects: Objects, name: str, version: str) -> Finding | None:
    try:
        Releases(objects).verify(name, version)
    except (NotFound, Damaged) as error:
        return Finding(key=f"releases/{name}/{version}", problem=str(error), damaged=True)
    return None


def _check_sources(objects: Objects, name: str, version: str) -> Iterator[Finding]:
    """Finds missing sources of a release, without which it cannot be retrained."""
    releases = Releases(objects)
    try:
        if SOURCES not in releases.files(name, version):
            return
        documents = parse_json(releases.read(name, version, SOURCES))
        wanted = {entry["sha256"] for document in documents.values() for entry in document["files"]}
        for listing in set(listings_in(documents)):
            wanted.add(listing)
            with suppress(BlobMissing):
                wanted.update(entry["sha256"] for entry in read_listing(Blobs(objects), listing))
    except (NotFound, Damaged, ValueError, KeyError, TypeError, AttributeError):
        return  # it is damaged, which `_check_release` says, or not ours
    missing = sorted(digest for digest in wanted if not Blobs(objects).has(digest))
    if missing:
        problem = f"{len(missing)} of the {len(wanted)} blobs that it was made from are not there: {missing[0]}"
        yield Finding(key=f"releases/{name}/{version}", problem=problem, damaged=False)


def _check_ref(objects: Objects, listed: Listed, releases: Iterable[tuple[str, str]]) -> Finding | None:
    try:
        value = decode(objects.get(listed.key).data, objects=objects, key=listed.key).get("value")
    except NotFound:
        return None
    except Damaged:
        return Finding(key=listed.key, problem="it is not a JSON object", damaged=True)
    if not isinstance(value, dict):
        return Finding(key=listed.key, problem="it holds no value", damaged=True)
    if {"name", "version"} <= value.keys() and (value["name"], value["version"]) not in set(releases):
        problem = f"it points at {value['name']}/{value['version']}, and there is no such complete release"
        return Finding(key=listed.key, problem=problem, damaged=False)
    return None


def _quarantined(objects: Objects, finding: Finding) -> Finding:
    if not finding.damaged or not finding.key.startswith(("blobs/", "results/", "journal/")):
        return finding
    target = f"{QUARANTINE}/{finding.key}"
    with tempfile.NamedTemporaryFile(prefix="trimtab-quarantine-") as copy:
        try:
            for chunk in objects.stream(finding.key):
                copy.write(chunk)
        except NotFound:
            return finding
        except Damaged:
            # The server itself finds that it is damaged: there are no bytes to keep.
            objects.delete(finding.key)
            return replace(finding, moved_to="nowhere; it could not be read")
        copy.flush()
        objects.put(target, Path(copy.name))
    objects.delete(finding.key)
    return replace(finding, moved_to=target)
