"""What all tasks of one run share."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from components.core.store import Store
from pipelines.runner.backlog import Backlog
from pipelines.runner.code import Program
from pipelines.runner.containers.lifetime import Containers
from pipelines.runner.environments import Environments
from pipelines.runner.events import Listener, Warned
from pipelines.runner.ir import Pipeline
from pipelines.runner.options import RunOptions
from pipelines.runner.resources import Capacity
from pipelines.runner.stand_ins import StandIns
from pipelines.runner.state import RunState, TaskRecord
from pipelines.runner.workers import Worker

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(kw_only=True)
class RunContext:
    """One run's surroundings. Used from the event loop's thread, except for `store`."""

    run_id: str
    folder: Path
    pipeline: Pipeline
    programs: Mapping[str, Program]
    store: Store
    state: RunState
    capacity: Capacity
    light: Worker
    heavy: Worker
    environments: Environments
    stand_ins: StandIns
    listener: Listener
    options: RunOptions
    # Where tasks run instead, if `options.engine` says so.
    containers: Containers | None = None
    # Tasks by path that had succeeded before the run was resumed.
    finished: Mapping[str, TaskRecord] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Store requests wait for disks and networks, not for CPU.
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, thread_name_prefix="store"))
    warned: set[str] = field(default_factory=set)
    backlog: Backlog = field(init=False)

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.warn)

    @property
    def workspace(self) -> Path:
        """The folder that the run's tasks share (`dsl.WorkspaceConfig`); it is there if the pipeline has one."""
        return self.folder / "workspace"

    async def in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a blocking call without holding up the other tasks."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, lambda: function(*args, **kwargs))

    def warn(self, message: str) -> None:
        """Tells the listener, once for each message."""
        if message not in self.warned:
            self.warned.add(message)
            self.listener(Warned(message=message))

    def facts(self, task_name: str, path: str) -> dict[str, str]:
        """The text of the job and task placeholders."""
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created))
        return {
            "pipeline_job_uuid": self.run_id,
            "pipeline_job_name": self.run_id,
            "pipeline_job_resource_name": self.run_id,
            "pipeline_job_create_time_utc": created,
            "pipeline_job_schedule_time_utc": created,
            "workspace_path": str(self.workspace),
            "pipeline_root": str(self.folder / "artifacts"),
            "pipeline_task_name": task_name,
            "pipeline_task_uuid": f"{self.run_id}/{path}",
        }

    async def worker_for(self, program: Program) -> Worker:
        """The zygote that a task should be forked from."""
        worker = self.heavy if program.heavy else self.light
        await worker.start()
        return worker

    async def expect_heavy(self) -> None:
        """Starts importing torch in the background if a component of this pipeline will want it."""
        if self._has_heavy:
            await self.heavy.start()

    @cached_property
    def _has_heavy(self) -> bool:
        # Asked by every task, and there may be as many programs as tasks.
        return any(program.heavy for program in self.programs.values())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task, a loop or a whole DAG ended, and what it produced.

    `status` is succeeded, failed, skipped or cancelled. An output that was not produced is absent. `leaves` are the
    paths of the tasks that a follower waits for; `error` names in one line the task that failed first (of a task that
    was skipped: the failure that kept it from starting), and `failure` says whose fault it was: "user" or "error".
    """

    status: str
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    error: str = ""
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the run a task is: its path, the loop items around it, and the tasks that must end before it."""

    path: str = ""
    iteration: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    after: tuple[str, ...] = ()

    def inner(self, name: str) -> str:
        """The path of a task inside."""
        return f"{self.path}/{name}" if self.path else name
