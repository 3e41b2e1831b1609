"""Quantities, durations and names as Kubernetes spells them, checked before a pod is refused for them."""

import re
from typing import Any

from components.core.errors import UserError
from pipelines.quantities import num_bytes, num_cores

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def cpu(value: Any, where: str) -> str:
    """A CPU quantity as text: `2`, `0.5` or `500m`; more than none.

    Raises:
        UserError: anything else.
    """
    text = _plain(value)
    if num_cores(text, where) <= 0 or (text.endswith("m") and "." in text):
        raise UserError(f"{where}: {value!r} is not a CPU quantity; write 2, 0.5 or 500m")
    return text


def memory(value: Any, where: str) -> str:
    """A quantity of bytes as text: `512Mi`, `4G` or `1500000000`; at least 1 MB.

    Raises:
        UserError: anything else; less than 1 MB (`4` or `512m` for `4G` and `512Mi` is the usual slip).
    """
    text = _plain(value)
    found = num_bytes(text, where)
    if found < 10**6:
        raise UserError(f"{where}: {value!r} is {found:.0f} bytes; write 512Mi or 4G")
    return text


def seconds(value: Any, where: str) -> int:
    """Whole seconds from `90`, `90s`, `10m`, `6h` or `1h30m`; at least 1.

    Raises:
        UserError: anything else.
    """
    text = _plain(value)
    match = _DURATION.fullmatch(text)
    if text.isdigit():
        found = int(text)
    elif match and text:
        hours, minutes, rest = (int(part or 0) for part in match.groups())
        found = hours * 3600 + minutes * 60 + rest
    else:
        raise UserError(f"{where}: {value!r} is not a duration; write 90s, 10m, 6h or 1h30m")
    if found < 1:
        raise UserError(f"{where}: {value!r} is zero; give at least 1s")
    return found


def object_name(value: Any, where: str) -> str:
    """The name of an object in the cluster (a secret, a service account).

    Raises:
        UserError: no such name: lower case letters, digits, '-' and '.'.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise UserError(f"{where}: {value!r} is not a valid Kubernetes name (lower case letters, digits, '-' and '.')")
    return value


def _plain(value: Any) -> str:
    """YAML reads `cpu: 2` as a number and `yes` as a flag; only the first may be meant."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
