"""A run's state on disk: SQLite in WAL mode, so that a kill at any moment loses no finished task.

<home>/runs/<run-id>/state.sqlite     one row for the run, one a task
                     pipeline.yaml    what was run
                     logs/ artifacts/ work/
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from components.core.errors import UserError

DATABASE = "state.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
  id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, status TEXT NOT NULL, started REAL NOT NULL, ended REAL,
  store TEXT NOT NULL, parameters TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '{}', error TEXT NOT NULL DEFAULT '',
  pid INTEGER NOT NULL, summary TEXT NOT NULL DEFAULT 'null');
CREATE TABLE IF NOT EXISTS task (
  task TEXT PRIMARY KEY, status TEXT NOT NULL, started REAL, record TEXT NOT NULL);
"""


@dataclass(kw_only=True)
class TaskRecord:
    """Everything that is known of one task. `task` is its path: `exit-handler-1/for-loop-2/[0]/prune`."""

    task: str
    label: str
    component: str
    status: str = "running"
    cached: bool = False
    started: float = 0.0
    ended: float = 0.0
    attempt: int = 1
    depends_on: list[str] = field(default_factory=list)
    iteration: dict[str, Any] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    input_artifacts: dict[str, list[str]] = field(default_factory=dict)
    output_parameters: dict[str, Any] = field(default_factory=dict)
    output_artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cache_key: str = ""
    error: str = ""
    failure: str = ""
    log: str = ""

    @property
    def seconds(self) -> float:
        """Wall time from the first attempt's start to the end."""
        return max(0.0, self.ended - self.started)


@dataclass(kw_only=True)
class RunRecord:
    """One run."""

    id: str
    pipeline: str
    status: str
    started: float
    store: str
    parameters: dict[str, Any]
    pid: int
    ended: float | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    summary: dict[str, Any] | None = None


_TASK_FIELDS = frozenset(item.name for item in fields(TaskRecord))


class RunState:
    """Reads and writes one run's database. Every write is committed when the call returns.

    Used from the scheduler's thread only; a reader in another process sees whole commits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._database = sqlite3.connect(folder / DATABASE, isolation_level=None, timeout=10.0)
            self._database.execute("PRAGMA journal_mode=WAL")
            # WAL with NORMAL survives a kill of the process at any moment; only a power cut may lose the last commits,
            # and what they recorded is in the result cache.
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise UserError(f"the state of the run in {folder} cannot be opened: {error}") from None

    def save_run(self, run: RunRecord) -> None:
        """Inserts or replaces the run's row."""
        self._database.execute(
            "INSERT OR REPLACE INTO run (id, pipeline, status, started, ended, store, parameters, outputs, error, pid,"
            " summary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.id, run.pipeline, run.status, run.started, run.ended, run.store, json.dumps(run.parameters),
                json.dumps(run.outputs), run.error, run.pid, json.dumps(run.summary),
            ),
        )  # fmt: skip

    def save_task(self, task: TaskRecord) -> None:
        """Inserts or replaces the task's row."""
        self._database.execute(
            "INSERT OR REPLACE INTO task (task, status, started, record) VALUES (?, ?, ?, ?)",
            (task.task, task.status, task.started, json.dumps(asdict(task))),
        )

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    path = folder / DATABASE
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)) as database:
            database.row_factory = sqlite3.Row
            yield database
    except sqlite3.Error as error:
        raise UserError(f"the state of the run in {folder} cannot be read: {error}") from None


def read_run(folder: Path) -> RunRecord:
    """The run whose folder this is.

    Raises:
        UserError: there is no run, or its state cannot be read.
    """
    if not (folder / DATABASE).is_file():
        raise UserError(f"there is no run in {folder}")
    with _reading(folder) as database:
        row = database.execute("SELECT * FROM run").fetchone()
    if row is None:
        raise UserError(f"there is no run in {folder}")
    values: dict[str, Any] = dict(row)
    for name in ("parameters", "outputs", "summary"):
        values[name] = json.loads(values[name])
    return RunRecord(**values)


def read_tasks(folder: Path) -> list[TaskRecord]:
    """The run's tasks, by their start."""
    with _reading(folder) as database:
        rows = database.execute("SELECT record FROM task ORDER BY started, task").fetchall()
    return [_task_from(json.loads(row["record"])) for row in rows]


def _task_from(values: Mapping[str, Any]) -> TaskRecord:
    return TaskRecord(**{key: value for key, value in values.items() if key in _TASK_FIELDS})
