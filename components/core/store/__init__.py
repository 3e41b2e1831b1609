"""The store: blobs, results, checkpoints, releases, refs and the journal, in a folder or in an S3 bucket.

    store = open_store("s3://bucket/prefix")          # or a folder
    store.check_writable()
    digest = store.blobs.put(Path("weights.safetensors"))
    store.blobs.fetch(digest, Path("copy.safetensors"))

Layout, the same in both:

    blobs/sha256/ab/<digest>              immutable bytes, named by their sha256
    results/<component>/<key>.json        what a stage produced; key = `keys.cache_key(...)`
    checkpoints/<key>/index.json          points at the one generation that is whole
    checkpoints/<key>/<generation>/...    its files
    releases/<name>/<version>/...         plain files for the serving side
    releases/<name>/<version>/release.json    written last: sizes and sha256; a folder without it is no release
    refs/<name>.json                      a pointer, moved by compare-and-swap; `champion`: the release in use, with
                                          who put it there, when and why, and all before it, in the same object
    journal/<run>/<task>.<hash>.json      what happened, one record a task
    held/ab/<digest>                      marks a blob as needed since then, for the garbage collection
    gc/sweep.json                         what a garbage collection is deleting now (`contents/sweeps.py`)
    quarantine/...                        what `trimtab store verify --quarantine` moved aside, under its key

Guarantees, tested for both by one suite (`tests/core/store`):

- Whole or not at all: whenever a writer is killed, no reader sees half an object, and the same call again succeeds.
  A folder's writer works in `<root>/.partial/` (ignored by every listing; what is left there may be deleted when no
  writer is at work). An interrupted multipart upload is invisible too; the same upload again continues with its parts,
  and a large upload into the store aborts what is older than a week.
- Verified: what is read from blobs, checkpoints and releases has the sha256 it was written with, or an error says which
  object is damaged. Uploads carry their sha256, so that the server refuses what was changed on the way.
- Written once: equal blobs are stored once; a release never changes; two writers of one key are harmless.
- Collected safely: what is reachable, or was written or used within the grace period, is not deleted, whoever writes
  meanwhile; killed at any moment, a collection leaves no record without its blobs (`care/garbage.py`,
  `contents/sweeps.py`).
- Compare-and-swap: of all that move a ref from one state, exactly one succeeds (`flock` in a folder, `If-Match` and
  `If-None-Match` on S3; the server must support conditional writes).
- Errors: `StoreError` and its subclasses; those that a user can mend are also `UserError`, one line each that never
  holds a credential. A refused access is `AccessDenied`, never "not found". Retries are bounded.
- Fork: a store that was opened before a fork can be used after it; a connection is never shared between processes.

Credentials come only from boto3's chain. boto3 is imported in `backends/s3` and nowhere else, and only when an
s3:// URI is opened.
"""

from components.core.store.contents.champions import CHAMPION, Champion
from components.core.store.contents.refs import Ref
from components.core.store.contents.releases import MARKER, SIGNATURE
from components.core.store.errors import (
    AccessDenied,
    BlobDamaged,
    BlobMissing,
    Damaged,
    NotFound,
    PreconditionFailed,
    RefConflict,
    ReleaseExists,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from components.core.store.keys import cache_key, canonical_json
from components.core.store.store import CHANGES_VARIABLE, Store, open_objects, open_store, store_from_environment

__all__ = [
    "CHAMPION",
    "CHANGES_VARIABLE",
    "MARKER",
    "SIGNATURE",
    "AccessDenied",
    "BlobDamaged",
    "BlobMissing",
    "Champion",
    "Damaged",
    "NotFound",
    "PreconditionFailed",
    "Ref",
    "RefConflict",
    "ReleaseExists",
    "Store",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "cache_key",
    "canonical_json",
    "open_objects",
    "open_store",
    "store_from_environment",
]
