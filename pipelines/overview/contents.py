"""Contents of a store for the overview. Unreadable records become lines in `problems`; the rest is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from components.core.json_documents import parse_json
from components.core.store import Champion, Store, StoreError
from components.core.store.concurrency import run_all
from components.run_report.evidence import Evidence, collect
from components.run_report.records import Task, read_tasks
from components.run_report.summary import find_release

EVALUATION = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. `started` in seconds since 1970; `title` is the run report's, empty if there is none."""

    id: str
    pipeline: str
    status: str
    title: str
    started: float
    seconds: float
    evidence: Evidence

    @property
    def release(self) -> str:
        """`name/version` of what it exported, or empty."""
        found = find_release(self.evidence)
        return f"{found['name']}/{found['version']}" if {"name", "version"} <= set(found) else ""


@dataclass(frozen=True, kw_only=True)
class Released:
    """A release and the evaluation that it carries."""

    name: str
    evaluation: Evaluation

    @property
    def data(self) -> str:
        """Remark on the rows that belongs beside each figure, such as that they are synthetic; mostly empty."""
        return self.evaluation.dataset.description or ""

    @property
    def size_mb(self) -> float:
        """Megabytes of 10⁶ bytes, all that is shipped to predict with."""
        return self.evaluation.candidate.size_bytes / 1e6


@dataclass(kw_only=True)
class Contents:
    """Runs by their start, releases by name, champions by ref."""

    store: str
    runs: list[Run] = field(default_factory=list)
    releases: list[Released] = field(default_factory=list)
    champions: list[Champion] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_contents(store: Store) -> Contents:
    """Reads journals, releases and champions.

    Raises:
        StoreError: the store does not answer, or refuses.
    """
    contents = Contents(store=store.uri)
    runs = run_all(lambda run: _told(lambda: read_run(store, run), f"run {run}"), store.journal.runs())
    releases = run_all(
        lambda one: _told(lambda: _released(store, *one), f"release {'/'.join(one)}"), store.releases.list()
    )
    champions = run_all(lambda ref: _told(lambda: _champion(store, ref), f"ref {ref}"), store.refs.names())
    for found, kept in ((runs, contents.runs), (releases, contents.releases), (champions, contents.champions)):
        for one in found:
            if isinstance(one, str):
                contents.problems.append(one)
            elif one is not None:
                kept.append(one)
    contents.runs.sort(key=lambda run: (run.started, run.id))
    return contents


def _told(read: Any, what: str) -> Any:
    try:
        return read()
    except (StoreError, UserError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        return f"{what}: {error if str(error) else type(error).__name__}"


def read_run(store: Store, run: str) -> Run:
    """One run from its journal; an unknown one has no tasks and no end."""
    tasks = read_tasks(store.journal.read(run))
    told = _end(tasks)
    started = min((task.started for task in tasks if task.started), default=0.0)
    ended = max((task.started + task.seconds for task in tasks), default=0.0)
    pipeline = next(
        (str(task.parameters.get("pipeline") or "") for task in tasks if task.component == "run_report"), ""
    )
    failed = any(task.status == "failed" for task in tasks)
    status = str(told.get("state") or ("failed" if failed else "no end recorded")).lower()
    evidence = collect(
        store, tasks, run_id=run, pipeline=pipeline, parameters={}, state=str(told.get("state") or status),
        error="",
    )  # fmt: skip
    return Run(
        id=run, pipeline=pipeline, status=status, title=str(told.get("title") or ""), started=started,
        seconds=max(ended - started, 0.0), evidence=evidence,
    )  # fmt: skip


def _end(tasks: list[Task]) -> Mapping[str, Any]:
    """Title and state, as the run report put them on its artifact."""
    for task in tasks:
        if task.component == "run_report":
            for artifact in task.artifacts.get("report") or ():
                metadata: Mapping[str, Any] = artifact.get("metadata") or {}
                return metadata
    return {}


def _champion(store: Store, ref: str) -> Champion | None:
    found = store.refs.read(ref)
    # Other refs point at data sets.
    return store.champions.read(ref) if found is not None and "history" in found.value else None


def _released(store: Store, name: str, version: str) -> Released:
    document = parse_json(store.releases.read(name, version, EVALUATION))
    return Released(name=f"{name}/{version}", evaluation=Evaluation.from_json(document))
