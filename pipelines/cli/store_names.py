"""Look up objects, blobs and releases by the names that users type."""

import difflib
import re
from collections.abc import Iterable

from components.core.errors import UserError
from components.core.store import NotFound, Store
from components.core.store.backends.objects import Objects
from components.core.store.contents.blobs import BLOB_FOLDER

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_SHOWN = 10


def is_digest_like(name: str) -> bool:
    """Whether a name is a sha256 in hex, or the first 8 or more digits of one."""
    return _DIGEST.fullmatch(name) is not None


def find_blob(objects: Objects, name: str) -> str:
    """Return the digest of the blob with this digest or digest prefix.

    Raises:
        UserError: there is none, or there are several.
    """
    match = _DIGEST.fullmatch(name)
    assert match is not None
    start = match[1]
    known = [listed.key.rpartition("/")[2] for listed in objects.walk(f"{BLOB_FOLDER}/{start[:2]}")]
    found = [digest for digest in known if digest.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{len(found)} blobs begin with {start}: {', '.join(found[:_SHOWN])}; give more digits")
    raise UserError(f"there is no blob {start} in the store {objects.uri}{nearest(start, known)}")


def find_key(objects: Objects, key: str) -> str:
    """Return the key if the object exists; else UserError with the nearest key in its folder."""
    try:
        objects.stat(key)
    except NotFound:
        pass
    else:
        return key
    folder = key
    while folder := folder.rpartition("/")[0]:
        if known := [listed.key for listed in objects.walk(folder)]:
            break
    else:
        known = objects.folders("")
    raise UserError(f"there is nothing called {key!r} in the store {objects.uri}{nearest(key, known)}")


def find_named_release(store: Store, name: str) -> tuple[str, str]:
    """(name, version) of the release given as `NAME/VERSION`, as a unique name or version, or as a ref.

    Raises:
        UserError: there is none, or there are several.
    """
    releases = store.releases.list()
    found = [one for one in releases if name in (f"{one[0]}/{one[1]}", *one)]
    if len(found) == 1:
        return found[0]
    if found:
        versions = ", ".join(f"{one}/{version}" for one, version in found[:_SHOWN])
        raise UserError(f"{len(found)} releases are called {name!r}; give one as NAME/VERSION: {versions}")
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+/-]*", name) and "//" not in name:
        ref = store.refs.read(name.rstrip("/"))
        if ref is not None:
            pointed = (str(ref.value.get("name")), str(ref.value.get("version")))
            if pointed not in releases:
                raise UserError(
                    f"the ref {name!r} points at {'/'.join(pointed)}, and there is no such complete release"
                )
            return pointed
    known = [word for one in releases for word in (f"{one[0]}/{one[1]}", one[0])]
    empty = "" if known else "; it has no releases yet: make one with trimtab run, or give another --store"
    raise UserError(f"there is no release and no ref {name!r} in the store {store.uri}{nearest(name, known)}{empty}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, else the known names, else nothing."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = ", …" if len(names) > _SHOWN else ""
    return f"; there are: {', '.join(names[:_SHOWN])}{more}" if names else ""
