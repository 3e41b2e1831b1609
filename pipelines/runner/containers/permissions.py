"""Permissions that a pipeline in containers needs from whoever starts it, checked before anything starts."""

import os
from urllib.parse import urlsplit

from components.core.errors import UserError
from components.core.store import Store
from pipelines.runner.options import RunOptions

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_remote_store(store: Store) -> bool:
    """Whether the store is a bucket."""
    return "://" in store.uri


def check_permissions(store: Store, options: RunOptions) -> None:
    """A store in a bucket takes the network and credentials that may change it; both are given on the command line.

    Raises:
        UserError: one of them was not given.
    """
    if not is_remote_store(store):
        return
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    network = "host-network" if urlsplit(endpoint).hostname in _LOOPBACK else "network"
    needed = [network] if network == "host-network" or not options.has_network else []
    missing = [f"--allow {name}" for name in (*needed, "store") if name not in options.allow]
    if missing:
        raise UserError(
            f"to use the store {store.uri}, tasks in containers need network access and your credentials; if you "
            f"trust the pipeline, add {' '.join(missing)}"
        )
