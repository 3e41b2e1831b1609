"""The journal record of a task: what the run report reads from the store. One schema, on a laptop and on a cluster."""

import hashlib
from collections.abc import Mapping
from typing import Any

from components.core.results.payload import manifest_of
from components.core.store import Store, canonical_json
from pipelines.runner.records.state import TaskRecord


def write(store: Store, run_id: str, task: TaskRecord) -> None:
    """Writes the record of a task that is over, however it ended."""
    store.journal.write(run_id, task.task, record_of(task))


def record_of(task: TaskRecord) -> dict[str, Any]:
    """The record: times in seconds since the epoch, `depends_on` and `task` as paths in the run, `sha256` its seal."""
    record = {
        "task": task.task,
        "label": task.label,
        "component": task.component,
        "status": task.status,
        "cached": task.cached,
        "started": task.started,
        "ended": task.ended,
        "seconds": round(task.seconds, 3),
        "attempt": task.attempt,
        "depends_on": task.depends_on,
        "iteration": task.iteration,
        "parameters": task.parameters,
        "input_artifacts": task.input_artifacts,
        "output_parameters": task.output_parameters,
        "output_artifacts": {
            name: [
                {
                    "type": item["type"].get("schemaTitle", ""),
                    "uri": item.get("uri", ""),
                    "metadata": item.get("metadata", {}),
                    "manifest": manifest_of(item),
                }
                for item in items
            ]
            for name, items in task.output_artifacts.items()
        },
        "error": task.error or None,
        "log": task.log or None,
    }
    return {**record, "sha256": seal_of(record)}


def seal_of(record: Mapping[str, Any]) -> str:
    """sha256 over the canonical JSON of a record without its `sha256`: a byte that changes later is noticed."""
    return hashlib.sha256(canonical_json({key: value for key, value in record.items() if key != "sha256"})).hexdigest()


def digest_or_uri(artifact: Mapping[str, Any]) -> str:
    """The name of an input artifact: its manifest's digest if its producer stated one, else where it lies."""
    return str(artifact.get("metadata", {}).get("digest") or artifact.get("uri", ""))
