"""A run's state on disk: SQLite in WAL mode, so that a kill at any moment loses no finished task.

<home>/runs/<run-id>/state.sqlite     one row for the run, one per task
                     run.lock         locked by the runner that is at work on the run
                     pipeline.yaml    what was run
                     logs/ artifacts/ work/
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from components.core.errors import UserError

DATABASE = "state.sqlite"
_LOCK = "run.lock"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
  id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, status TEXT NOT NULL, started REAL NOT NULL, ended REAL,
  store TEXT NOT NULL, parameters TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '{}', error TEXT NOT NULL DEFAULT '',
  pid INTEGER NOT NULL, summary TEXT NOT NULL DEFAULT 'null', request TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS task (
  task TEXT PRIMARY KEY, status TEXT NOT NULL, started REAL, record TEXT NOT NULL);
"""


@dataclass(kw_only=True)
class TaskRecord:
    """Everything that is known of one task. `task` is its path: `run/compress/recipes/[0]/prune`."""

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
    inputs_digest: str = ""
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
    """One run. `request` holds what whoever resumes it must know besides its parameters (see `resume.py`)."""

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
    request: dict[str, Any] = field(default_factory=dict)


_TASK_FIELDS = frozenset(item.name for item in fields(TaskRecord))


class RunState:
    """Writes one run's database, alone: it holds the run's lock. Every write is committed when the call returns.

    Used from the scheduler's thread only; a reader in another process sees whole commits.

    Raises:
        UserError: another process is at work on the run, or its database cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The kernel gives the lock back however the process ends; a process id would say nothing after a restart.
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UserError(f"the run {folder.name!r} is being run by another process (see: trimtab runs)") from None
        try:
            # SQLite gives its other files the mode of the first.
            os.close(os.open(folder / DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(folder / DATABASE, isolation_level=None, timeout=10.0)
            self._database.execute("PRAGMA journal_mode=WAL")
            # WAL with NORMAL survives a kill of the process at any moment; only a power cut may lose the last commits,
            # and what they recorded is in the result cache, but for what is still being written (`backlog.py`).
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            if "request" not in {row[1] for row in self._database.execute("PRAGMA table_info(run)")}:
                # A run of an earlier version, which is resumed.
                self._database.execute("ALTER TABLE run ADD COLUMN request TEXT NOT NULL DEFAULT '{}'")
        except sqlite3.Error as error:
            os.close(self._lock)
            raise UserError(f"the state of the run in {folder} cannot be opened: {error}") from None

    def save_run(self, run: RunRecord) -> None:
        """Inserts or replaces the run's row."""
        self._database.execute(
            "INSERT OR REPLACE INTO run (id, pipeline, status, started, ended, store, parameters, outputs, error, pid,"
            " summary, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.id, run.pipeline, run.status, run.started, run.ended, run.store, json.dumps(run.parameters),
                json.dumps(run.outputs), run.error, run.pid, json.dumps(run.summary), json.dumps(run.request),
            ),
        )  # fmt: skip

    def save_task(self, task: TaskRecord) -> None:
        """Inserts or replaces the task's row."""
        self._database.execute(
            "INSERT OR REPLACE INTO task (task, status, started, record) VALUES (?, ?, ?, ?)",
            (task.task, task.status, task.started, json.dumps(asdict(task))),
        )

    def keep_only(self, tasks: Collection[str]) -> None:
        """Atomic: forgets every task but these."""
        with self._database:
            self._database.execute("BEGIN")
            known = [row[0] for row in self._database.execute("SELECT task FROM task")]
            gone = [(task,) for task in known if task not in tasks]
            self._database.executemany("DELETE FROM task WHERE task = ?", gone)

    def close(self) -> None:
        """Closes the database and gives the lock back."""
        self._database.close()
        os.close(self._lock)


def is_at_work(folder: Path) -> bool:
    """Whether a runner, in any process of this machine, is at work on the run whose folder this is."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    path = folder / DATABASE
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)) as database:
            database.row_factory = sqlite3.Row
            yield database
    except sqlite3.Error as error:
        raise UserError(f"the state of the run in {folder} cannot be read: {error}") from None


def has_run(folder: Path) -> bool:
    """Whether a run was recorded in this folder."""
    try:
        read_run(folder)
    except UserError:
        return False
    return True


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
    for name in ("parameters", "outputs", "summary", "request"):
        values[name] = json.loads(values[name])
    return RunRecord(**values)


def read_tasks(folder: Path) -> list[TaskRecord]:
    """The run's tasks, by their start."""
    with _reading(folder) as database:
        rows = database.execute("SELECT record FROM task ORDER BY started, task").fetchall()
    return [_task_from(json.loads(row["record"])) for row in rows]


def _task_from(values: Mapping[str, Any]) -> TaskRecord:
    return TaskRecord(**{key: value for key, value in values.items() if key in _TASK_FIELDS})
