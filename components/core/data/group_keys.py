"""Which rows of the test split stay together: `group_keys.json` of a data set, digest of the row → key of its group.

A group is what the split kept whole: equal values of `group_column`, near copies, translations of one sentence. Rows of
it depend on each other, so what cuts the test split again (`SplitPart`) must keep it whole as well.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest, read_file
from components.core.errors import UserError
from components.core.json_documents import parse_json

if TYPE_CHECKING:
    from components.core.store import Store

GROUP_KEYS_NAME = "group_keys.json"


def encode_group_keys(keys: Mapping[str, str]) -> dict[str, bytes]:
    """The file by its name, for a data set's further files; nothing where no row has a group."""
    return {GROUP_KEYS_NAME: json.dumps(keys, indent=0, sort_keys=True).encode()} if keys else {}


def read_group_keys(manifest: Manifest, store: "Store") -> dict[str, str]:
    """Of each test row with a group the group's key, sha256 in hex; empty for a data set without groups.

    Raises:
        UserError: the file is damaged.
    """
    if not any(entry.path == GROUP_KEYS_NAME for entry in manifest.files):
        return {}
    try:
        found = parse_json(read_file(manifest, GROUP_KEYS_NAME, store))
    except ValueError as error:
        raise UserError(
            f"{GROUP_KEYS_NAME} of the data set is not valid JSON: {error}; prepare the data again"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found.values()):
        raise UserError(f"{GROUP_KEYS_NAME} of the data set must hold a key of each row; prepare the data again")
    return found
