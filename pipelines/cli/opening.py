"""Open an existing store for maintenance commands, with errors in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from components.core.errors import UserError
from components.core.store import StoreError, open_objects
from components.core.store.backends.objects import Objects
from pipelines.runner.run import home_folder

AREAS = ("blobs", "results", "checkpoints", "releases", "refs", "journal")


@contextmanager
def existing_store(uri: str) -> Iterator[Objects]:
    """Context manager: the objects of the store at a URI, or of the default store; store errors become one line.

    Raises:
        UserError: there is no store, or the block raised a store error.
    """
    try:
        objects = open_objects(uri or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))
        if not set(objects.folders("")) & set(AREAS):
            raise UserError(f"there is no store at {objects.uri}: it holds none of {', '.join(AREAS)}; see --store")
        yield objects
    except UserError:
        raise
    except StoreError as error:
        raise UserError(str(error)) from error


def size_text(size: float) -> str:
    """Bytes for people: `512 B`, `1.2 kB`, `3.4 GB` (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.95 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
