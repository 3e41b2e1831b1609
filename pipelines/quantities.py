"""Quantities of Kubernetes, such as `500m` of CPU and `512Mi` of memory, as numbers."""

import importlib.util
import re
from collections.abc import Collection
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from components.core.errors import UserError

# What the client's parser is given: it would take "NaN" and "1_000" as well, which the API server refuses.
_QUANTITY = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?([A-Za-z]*)")
_UNITS_OF_BYTES = ("", *"kKMGTPE", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")  # kfp's SDK writes `K`; Kubernetes has only `k`


def num_cores(text: str, where: str) -> float:
    """Cores from `2`, `0.5` or `500m`.

    Raises:
        UserError: anything else, with `where` it was found.
    """
    return _number(text, f"{where}: {text!r} is not a CPU quantity; write 2, 0.5 or 500m", units=("", "m"))


def num_bytes(text: str, where: str) -> float:
    """Bytes from `1500000`, `512Mi` or `2G`.

    Raises:
        UserError: anything else (`512m` is half a byte), with `where` it was found.
    """
    return _number(text, f"{where}: {text!r} is not a quantity of bytes; write 512Mi or 2G", units=_UNITS_OF_BYTES)


def _number(text: str, refusal: str, units: Collection[str]) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[1] not in units:
        raise UserError(refusal)
    return float(_parser().parse_quantity(text))


@cache
def _parser() -> ModuleType:
    """The parser of the Kubernetes client. Its file alone: the whole client takes 0.4 s to import, a cached run 0.6."""
    package = importlib.util.find_spec("kubernetes")
    assert package is not None, "kfp needs it"
    file = Path((package.submodule_search_locations or [])[0], "utils", "quantity.py")
    loader = SourceFileLoader("kubernetes_quantity", str(file))
    module = ModuleType(loader.name)
    loader.exec_module(module)
    return module
