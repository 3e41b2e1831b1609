"""Reading YAML that may be hostile: bounded in depth, length of numbers and in what its aliases expand to."""

import re
from typing import Any

import yaml

from components.core.errors import UserError

MOST_NODES = 500_000  # `optimize` has 5,000
_TEXT_OF_A_NODE = 128  # characters; longer texts count more than once, since aliases repeat them as well
MOST_DEPTH = 100
MOST_DIGITS = 250  # every number that is shorter fits into a double

# YAML 1.1 reads 1:30 as 90, and PyYAML does so in quadratic time; integers may also be hexadecimal, octal or binary.
_NUMBER = re.compile(r"[-+.0-9][-+.:0-9a-fA-FoxOX_]*")

# libyaml's parser is about ten times as fast; PyYAML wheels carry it on every platform we know.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_documents(text: str, name: str, what: str = "pipeline") -> list[Any]:
    """The documents in a YAML text. `name` is what messages call it, `what` the kind of thing that it should be.

    Raises:
        UserError: no YAML, or nested or expanded beyond any `what`.
    """
    try:
        _check_events(text, name, what)
        documents = [document for document in yaml.load_all(text, Loader=_LOADER) if document is not None]
    except yaml.YAMLError as error:
        raise UserError(f"{name} is not YAML: {_one_line(error)}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        # Scalars that look like dates or numbers but are none, e.g. `2024-99-99`.
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} is not YAML that can be read: {_one_line(error)}") from None
    try:
        _check_size(documents, name, what)
    except RecursionError:
        raise UserError(f"{name} is nested too deeply through its aliases; that is no {what}") from None
    return documents


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return " ".join(f"{problem}{place}".split())[:200]


def _check_events(text: str, name: str, what: str) -> None:
    # Before anything is built: the composer recurses in C, where a few kilobytes of brackets end the process.
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if count > 2 * MOST_NODES:  # a collection has two events, its start and its end
            raise UserError(f"{name} holds more than {MOST_NODES} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                raise UserError(f"{name} is nested more than {MOST_DEPTH} deep; that is no {what}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_DIGITS:
            _check_number(event, name)


def _check_number(event: yaml.ScalarEvent, name: str) -> None:
    if event.implicit[0] and _NUMBER.fullmatch(event.value):
        line = event.start_mark.line + 1 if event.start_mark else "?"
        raise UserError(
            f"{name} holds a number of {len(event.value)} digits in line {line}; if it is text, put it into quotes"
        )


def _length(name: Any) -> int:
    return len(name) // _TEXT_OF_A_NODE if isinstance(name, str) else 0


def _check_size(documents: list[Any], name: str, what: str) -> None:
    """Counts nodes and levels as if every alias were written out: shared objects are cheap to hold, deadly to walk."""
    known: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def measure(node: Any) -> tuple[int, int]:
        if isinstance(node, str):
            return 1 + len(node) // _TEXT_OF_A_NODE, 0
        if not isinstance(node, dict | list):
            return 1, 0
        key = id(node)
        if key in open_nodes:
            raise UserError(f"{name} has an alias that contains itself; that is no {what}")
        if key not in known:
            open_nodes.add(key)
            size, depth = 1 + (sum(_length(name) for name in node) if isinstance(node, dict) else 0), 1
            for child in node.values() if isinstance(node, dict) else node:
                inside, below = measure(child)
                size, depth = size + inside, max(depth, below + 1)
            open_nodes.discard(key)
            if size > MOST_NODES:
                raise UserError(f"{name} expands to more than {MOST_NODES} values through its aliases")
            if depth > MOST_DEPTH:
                raise UserError(f"{name} is nested more than {MOST_DEPTH} deep through its aliases; that is no {what}")
            known[key] = size, depth
        return known[key]

    total = sum(measure(document)[0] for document in documents)
    if total > MOST_NODES:
        raise UserError(f"{name} holds more than {MOST_NODES} values")
