"""Which files a table's rows may name: those beneath its own folder or in its own bucket, and what `allow_paths` adds.

A table from elsewhere would otherwise read any file and any bucket that whoever runs it can read.
"""

import os
import posixpath
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from components.core.data.ingestion.locations import local_path
from components.core.errors import UserError

_MOST_NAMED = 5


class Reach:
    """The files that rows of tables at `address` (a folder, or an s3:// prefix) may name.

    Args:
        address: where the tables lie.
        allow_paths: further folders, and s3:// URIs of buckets or prefixes.

    Raises:
        UserError: an entry of `allow_paths` that is neither.
    """

    def __init__(self, address: str, allow_paths: Sequence[str] = ()) -> None:
        self._bucket = bucket_of(address)
        uris = [entry for entry in allow_paths if entry.startswith("s3://")]
        for entry in allow_paths:
            if not entry.strip() or (entry in uris and not bucket_of(entry)):
                raise UserError(f"allow_paths must name folders or s3://bucket/prefix, got {entry!r}")
        self._uris = tuple(f"{uri.rstrip('/')}/" for uri in uris)
        folders = [local_path(entry) for entry in allow_paths if entry not in uris]
        if not self._bucket:
            folders.append(local_path(address))
        # Also as it is without links: a row may give its folder's real name.
        self._folders = {Path(form(folder)) for folder in folders for form in (os.path.abspath, os.path.realpath)}

    def holds_uri(self, uri: str) -> bool:
        """Whether a row may name this s3:// URI."""
        return bucket_of(uri) == self._bucket or uri.startswith(self._uris)

    def holds_path(self, path: Path) -> bool:
        """Whether a row may name this absolute path, which has no `..` (`normal`)."""
        try:
            return self._is_beneath(path) or self._is_beneath(Path(os.path.realpath(path)))
        except ValueError:  # a zero byte
            return False

    def _is_beneath(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._folders)


def normal(path: Path) -> Path:
    """The path, absolute and without `..`: what is checked is what is opened."""
    # Not `resolve`: a link inside of the folder may lead where its owner likes.
    return Path(os.path.abspath(path))  # noqa: PTH100


def leaves(name: str) -> bool:
    """Whether a relative name leads out of its folder, also as another system writes it (`locations.spellings`)."""
    slashes = name.replace("\\", "/")
    return slashes.startswith(("/", "~")) or posixpath.normpath(slashes).split("/")[0] == ".."


def bucket_of(uri: str) -> str:
    """The bucket of an s3:// URI; of anything else the empty text."""
    return uri.removeprefix("s3://").partition("/")[0] if uri.startswith("s3://") else ""


def parameter_for(outside: Iterable[str]) -> str:
    """The command-line argument with which these URIs and absolute paths may be read."""
    listed = list(outside)
    wanted = list(dict.fromkeys(f"s3://{bucket}" for one in listed if (bucket := bucket_of(one))))
    folders = list(dict.fromkeys(posixpath.dirname(one) for one in listed if not bucket_of(one)))
    if folders:
        common = os.path.commonpath(folders)
        wanted += folders[:_MOST_NAMED] if common == "/" else [common]
    return f"-p allow_paths={shlex.quote(','.join(wanted[:_MOST_NAMED]))}"
