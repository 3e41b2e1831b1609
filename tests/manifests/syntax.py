"""Texts inside of manifests that Kubernetes' schemas let through: cron expressions and quantities."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from kubernetes.utils import parse_quantity

from manifests.objects import Object, containers, name_of, of_kind, pod_templates, walk

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])}
# Field, smallest, largest, names: what KFP's parser (robfig/cron with seconds) takes. Sunday is 0 there and never 7.
_CRON_FIELDS: list[tuple[str, int, int, dict[str, int]]] = [
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
]
# What the client's parser is given: it takes `1K` and `NaN` as well.
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(m|[kMGTPE]|[KMGTPE]i|[eE]\d+)?")


def cron_problem(expression: str) -> str | None:
    """Why KFP would never start a run at `expression`, or None. Six fields: five would be read as seconds to month."""
    fields = expression.split()
    if len(fields) != len(_CRON_FIELDS):
        return f"{expression!r} has {len(fields)} fields; KFP takes 6, seconds first"
    values: list[set[int]] = []
    for text, (name, low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        parsed = _cron_field(text, low, high, names)
        if parsed is None:
            return f"{expression!r}: {text!r} is no {name} ({low} to {high})"
        values.append(parsed)
    # A leap year, so that 29 February counts.
    if not any(day <= calendar.monthrange(2024, month)[1] for month in values[4] for day in values[3]):
        return f"{expression!r} names a day that its months do not have"
    return None


def _cron_field(text: str, low: int, high: int, names: dict[str, int]) -> set[int] | None:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = int(step_text) if step_text.isdigit() else 0 if slash else 1
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, high
        else:
            numbers = [
                names.get(text.upper(), int(text) if text.isdigit() else -1)
                for text in ([first, last] if dash else [first])
            ]
            start, end = numbers[0], numbers[-1]
            if slash and not dash:
                end = high
        if step < 1 or not low <= start <= end <= high:
            return None
        found.update(range(start, end + 1, step))
    return found


def cron_problems(objects: list[Object]) -> list[str]:
    return [
        f"{name_of(obj)}: {path}: {problem}"
        for obj in objects
        for path, value in walk(obj)
        if path.endswith(".cron") and (problem := cron_problem(str(value)))
    ]


def amount(quantity: Any) -> Decimal | None:
    """A quantity as a number; None if it is none. `1Gi` is 1073741824, `500m` is 0.5."""
    text = str(quantity)
    return parse_quantity(text) if _QUANTITY.fullmatch(text) else None


def quantity_problems(objects: list[Object]) -> list[str]:
    problems = []
    for where, resource, quantity in _quantities(objects):
        found = amount(quantity)
        if found is None:
            problems.append(f"{where}: {quantity!r} is not a quantity")
        elif str(quantity).endswith("m") and "cpu" not in resource:
            problems.append(f"{where}: {quantity!r} is thousandths of a {resource}; M or Mi is meant")
    return problems + _asking_for_more_than_allowed(objects)


def _quantities(objects: list[Object]) -> Iterator[tuple[str, str, Any]]:
    """Place, resource and quantity, wherever Kubernetes expects one."""
    for obj in objects:
        for path, value in walk(obj):
            *_, last = path.rpartition(".")
            if last == "sizeLimit":
                yield f"{name_of(obj)}: {path}", "memory", value
            elif last in ("requests", "limits", "hard", "max", "min", "default", "defaultRequest") and isinstance(
                value, dict
            ):
                for resource, quantity in value.items():
                    yield f"{name_of(obj)}: {path}.{resource}", resource, quantity


def _asking_for_more_than_allowed(objects: list[Object]) -> list[str]:
    problems = []
    for name, pod in pod_templates(objects):
        for container in containers(pod):
            limits = container.get("resources", {}).get("limits", {})
            for resource, request in container.get("resources", {}).get("requests", {}).items():
                asked, allowed = amount(request), amount(limits.get(resource, request))
                if asked is not None and allowed is not None and asked > allowed:
                    problems.append(f"{name}: {container['name']} asks for {resource} {request}, over its limit")
    for limit_range in of_kind(objects, "LimitRange"):
        for limit in limit_range["spec"]["limits"]:
            for resource, request in limit.get("defaultRequest", {}).items():
                asked, allowed = amount(request), amount(limit.get("max", {}).get(resource, request))
                if asked is not None and allowed is not None and asked > allowed:
                    problems.append(f"{name_of(limit_range)}: defaultRequest of {resource} {request} is over max")
    return problems
