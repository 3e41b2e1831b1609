"""State that all tasks of one run share."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

from components.core.store import Store
from pipelines.runner.code.program import Program
from pipelines.runner.containers.folders_in_use import FoldersInUse
from pipelines.runner.containers.lifetime import Containers
from pipelines.runner.events import Listener, Warned
from pipelines.runner.ir.pipeline import Pipeline
from pipelines.runner.kubernetes_objects.supplied import KubernetesObjects
from pipelines.runner.options import RunOptions
from pipelines.runner.processes.environments import Environments
from pipelines.runner.processes.resources import Capacity
from pipelines.runner.processes.workers import Worker
from pipelines.runner.records.backlog import Backlog
from pipelines.runner.records.state import RunState, TaskRecord

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
    kubernetes_objects: KubernetesObjects
    listener: Listener
    options: RunOptions
    # Where tasks run instead, if `options.engine` says so.
    containers: Containers | None = None
    folders_in_use: FoldersInUse = field(default_factory=FoldersInUse)
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
