"""Errors of a store. Those of boto3 and of the operating system are translated into these at the edge."""

# ruff: noqa: N818  (a caller reads `except NotFound` as a sentence; the base carries the word Error)

from __future__ import annotations

from collections.abc import Sequence

from components.core.errors import UserError


class StoreError(Exception):
    """Base of every error of the store. One line that names the object; never a credential."""


class NotFound(StoreError):
    """There is no such object. (A refused access is `AccessDenied`, never this.)"""


class Damaged(StoreError):
    """The bytes that came back are not the bytes that were written."""


class PreconditionFailed(StoreError):
    """A conditional write found another object there than its condition names."""


class StoreRefused(StoreError):
    """The server refused a request as such: it does not support it, or it is no object store."""


class StoreUnavailable(StoreError, UserError):
    """The store cannot be used as it is configured: no answer, no bucket, refused credentials, no such folder."""


class AccessDenied(StoreUnavailable):
    """The store answered and refused: the credentials lack a right, or the folder's permissions do."""


class BlobMissing(NotFound):
    """No blob has this digest."""


class BlobDamaged(Damaged):
    """The bytes stored under a digest do not have that digest."""


class RefConflict(StoreError):
    """The ref was moved by someone else since it was read."""


class CollectionBusy(StoreError, UserError):
    """Another garbage collection is at work on this store."""


class ReleaseExists(StoreError):
    """The version is published with other bytes; a release never changes. `differing` names the files."""

    def __init__(self, message: str, differing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differing = tuple(differing)
