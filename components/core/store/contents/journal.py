"""Journal of a run: one record per task, for the run report."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from components.core.store.backends.objects import Objects
from components.core.store.concurrency import run_all
from components.core.store.names import check_name
from components.core.store.records import decode, encode


class Journal:
    """One record per (run, task), each an object of its own: tasks that end together cannot overwrite each other."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(self, run_id: str, task: str, record: Mapping[str, Any]) -> None:
        """Atomic: the record appears whole or not at all, in place of an earlier one of the same task."""
        key = f"{_folder(run_id)}/{_file_name(task)}"
        self._objects.put(key, encode(record, what=f"the journal record of {task!r}"))

    def read(self, run_id: str) -> list[dict[str, Any]]:
        """The run's records, by `record["started"]` and then by task; none for an unknown run."""
        keys = [listed.key for listed in self._objects.walk(_folder(run_id))]
        records = run_all(lambda key: decode(self._objects.get(key).data, objects=self._objects, key=key), keys)
        return sorted(records, key=lambda record: (_seconds(record.get("started")), str(record.get("task", ""))))

    def runs(self) -> list[str]:
        """The runs that have a record, sorted by name."""
        return self._objects.folders("journal")


def output_manifests(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The documents of the manifests among a record's output artifacts; what has another form has none."""
    artifacts = record.get("output_artifacts")
    for items in artifacts.values() if isinstance(artifacts, dict) else ():
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and isinstance(item.get("manifest"), dict):
                yield item["manifest"]


def _seconds(value: Any) -> float:
    return min(value, sys.float_info.max) if isinstance(value, int | float) else 0.0


def _folder(run_id: str) -> str:
    return f"journal/{check_name(run_id, what='run')}"


def _file_name(task: str) -> str:
    # A task path such as `recipes/[0]/prune` is no safe key: keep what a person can read, and let a digest tell
    # apart what that makes equal.
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", task).strip("-")[-100:].lstrip("-") or "task"
    return f"{readable}.{hashlib.sha256(task.encode()).hexdigest()[:12]}.json"
