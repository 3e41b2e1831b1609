"""`sources.json` of a release: the manifests of the network and the data set that it was made from.

Serving needs only a release's plain files. Retraining also needs the network to train further and the data set to
compare new data with. Both are blobs in the same store; `sources.json` has their manifests.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.errors import UserError
from components.core.json_documents import parse_json

if TYPE_CHECKING:
    from components.core.store import Store

SOURCES = "sources.json"


def encode_sources(sources: Mapping[str, Manifest]) -> bytes:
    """Content of sources.json."""
    documents = {name: manifest.to_json() for name, manifest in sources.items()}
    return json.dumps(documents, indent=1, sort_keys=True).encode() + b"\n"


def read_sources(store: "Store", name: str, version: str) -> dict[str, Manifest]:
    """Read the manifests, by name ("model", "dataset").

    Raises:
        UserError: the release has no sources. StoreError: there is no such release, or the store does not answer.
    """
    where = f"release {name}/{version}"
    if SOURCES not in store.releases.files(name, version):
        raise UserError(f"{where} has no {SOURCES}, so it cannot be retrained; run optimize again and promote that")
    try:
        documents = parse_json(store.releases.read(name, version, SOURCES))
        return {title: parse_manifest(document) for title, document in documents.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{where}: {SOURCES} cannot be read: {error}") from None
