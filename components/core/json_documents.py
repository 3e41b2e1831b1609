"""Reading JSON that may be hostile: whatever cannot be read is a ValueError, endless brackets too."""

import json
from typing import Any

from components.core.errors import UserError

MOST_DEPTH = 200


def parse_json(data: str | bytes) -> Any:
    """As `json.loads`.

    Raises:
        ValueError: no JSON, or nested more than `MOST_DEPTH` deep, which whoever writes it again cannot.
    """
    try:
        found = json.loads(data)
    except RecursionError:
        raise _too_deep() from None
    level = [found]
    for _ in range(MOST_DEPTH):
        level = [item for one in level for item in _inside(one)]
        if not level:
            return found
    raise _too_deep()


def parse_object(data: str | bytes, name: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UserError: it holds something else; `name` says which file it is.
    """
    try:
        found = parse_json(data)
    except ValueError as error:
        raise UserError(f"{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name} must hold an object, got {type(found).__name__}")
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MOST_DEPTH} deep")
