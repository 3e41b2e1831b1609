"""One task that runs code: cache, CPU, fork, retries, outputs, records."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results import cache
from components.core.results.payload import Abandoned, always, content_digest, payload_of
from components.core.store import StoreError
from pipelines.quantities import num_bytes, num_cores
from pipelines.runner.beneath import remove_folder
from pipelines.runner.code.program import Program
from pipelines.runner.containers.create import may_change_store, store_changes
from pipelines.runner.containers.store_changes import take_in
from pipelines.runner.context import RunContext
from pipelines.runner.events import TaskRetried, TaskStarted
from pipelines.runner.ir.pipeline import Component, Container, Task
from pipelines.runner.ir.placeholders import as_text, lists_of_artifacts, resolve, run_specific
from pipelines.runner.kubernetes_objects.supplied import NOTHING
from pipelines.runner.processes import workers
from pipelines.runner.processes.launch import Folders, Launch
from pipelines.runner.processes.resources import UNREQUESTED, CapacityClosed, Request
from pipelines.runner.records import journal
from pipelines.runner.records.logs import printable
from pipelines.runner.records.state import TaskRecord
from pipelines.runner.tasks.attempts import TaskFailed, check_end, spec_of, worker_for
from pipelines.runner.tasks.inputs import Inputs, digest_of, with_defaults
from pipelines.runner.tasks.outcome import Outcome, Position
from pipelines.runner.tasks.outputs import collect, executor_input, make_output_folders
from pipelines.runner.tasks.task_records import finish, finished_before, new_record, outcome_of


async def run_container(
    context: RunContext,
    task: Task,
    component: Component,
    inputs: Inputs,
    position: Position,
    *,
    why_not: Callable[[], str],
    on_failure: Callable[[], None],
) -> Outcome:
    """Runs a task to its end and records it; `position.path` is the task's own path.

    Args:
        context: the run.
        task: the DAG's node.
        component: what it runs; it has a container.
        inputs: resolved inputs, without the component's defaults.
        position: where in the run it is.
        why_not: asked again after waiting for CPU: a reason not to start any more, or "".
        on_failure: called when no attempt is left, before the task's CPU is free for another task.
    """
    inputs = with_defaults(inputs, component)
    return await _ContainerTask(context, task, component, inputs, position).run(why_not, on_failure)


class _ContainerTask:
    """The state of one task while it runs."""

    def __init__(
        self, context: RunContext, task: Task, component: Component, inputs: Inputs, position: Position
    ) -> None:
        assert component.container is not None
        self.context = context
        self.task = task
        self.component = component
        self.container: Container = component.container
        self.program: Program = context.programs[self.container.label]
        self.inputs = inputs
        self.folders = Folders(
            artifacts=context.folder / "artifacts" / position.path,
            work=context.folder / "work" / position.path,
            log=context.folder / "logs" / f"{position.path}.log",
        )
        self.facts = context.facts(task.name, position.path)
        self.given = executor_input(component, inputs, self.folders)
        self.env: dict[str, str] = {}
        self.supplied = NOTHING
        self.began = self.seconds = 0.0
        self.request = Request()
        self.record = new_record(task, component, position, position.path)
        self.record.component = self.program.name
        self.record.parameters = dict(inputs.parameters)
        self.record.input_artifacts = {
            name: [journal.digest_or_uri(item) for item in items] for name, items in inputs.artifacts.items()
        }
        self.record.inputs_digest = digest_of(inputs)

    async def run(self, why_not: Callable[[], str], on_failure: Callable[[], None]) -> Outcome:
        record = self.record
        earlier = await finished_before(self.context, self.record)
        if earlier is not None:
            # Saved and told once more: a kill may have come between the state and the store.
            if earlier.cache_key and not earlier.cached and not earlier.output_artifacts:
                self._save_later(earlier, earlier.seconds)
            await finish(self.context, earlier, kept=True)
            return outcome_of(earlier)
        record.started = time.time()
        saved_seconds = 0.0
        try:
            self._prepare()
            hit = await self._from_cache()
            if hit is not None:
                record.output_parameters, record.output_artifacts, saved_seconds = hit
                record.cached, record.status = True, "succeeded"
            else:
                await self._execute(why_not, on_failure)
                if record.status == "succeeded" and record.cache_key:
                    await self._save()
        except TaskFailed as failure:
            record.status, record.error, record.failure = "failed", self._clean(str(failure)), failure.kind
        except UserError as error:
            # Of the pipeline, not of whoever runs it: an output of the wrong type, a request that is no quantity.
            record.status, record.error, record.failure = "failed", self._clean(str(error)), "error"
        except CapacityClosed:
            record.status, record.error = "cancelled", "the run was stopped"
        record.ended = time.time()
        if not record.cached and not record.log:
            record.started = record.ended  # it never ran: waiting for CPU is not its time
        await finish(self.context, record, saved_seconds=saved_seconds)
        self.context.backlog.add(self._forget_work)
        return outcome_of(record)

    def _prepare(self) -> None:
        """Checks on the inputs before anything is looked up or started."""
        for name, parameter in self.component.input_parameters.items():
            if name not in self.inputs.parameters and not parameter.optional:
                raise UserError(f"input {name!r} was not given a value")
        for name, port in self.component.input_artifacts.items():
            if name not in self.inputs.artifacts and not port.optional:
                raise UserError(f"input artifact {name!r} was not given")
        for placeholder in lists_of_artifacts([*self.container.command, *self.container.args]):
            self.context.warn(
                f"the command of {self.record.label} holds {placeholder}, a list of artifacts; it is passed on as "
                "written, as by KFP's own backend (2.17)"
            )
        self.env = {key: as_text(resolve(value, self.given, self.facts)) for key, value in self.container.env.items()}
        self.request = _request(self.container, self.given, self.facts)
        self.supplied = self.context.kubernetes_objects.supply(
            self.container.settings, self.inputs.names, self.facts, self.folders.work
        )

    async def _from_cache(self) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], float] | None:
        if not self.task.cache or self._knows_its_run():
            return None
        if self.program.on_host or self.supplied.is_lasting:
            return None  # what it changes, or finds, outside its outputs is in no cached result
        try:
            self.record.cache_key = cache.key_of(
                self.program.name,
                self.program.digest,
                parameters=self.inputs.parameters,
                artifacts=self.inputs.artifacts,
                outputs=[*self.component.output_parameters, *self.component.output_artifacts],
                env={**self.env, **self.supplied.digests},
                threads=self.request.threads,
                named=self.task.cache_key,
            )
        except ValueError:
            return None  # an input that JSON cannot hold has no key
        if not self.context.options.use_cache or self._is_to_be_refreshed():
            return None
        places = {name: self.folders.artifact(name, port) for name, port in self.component.output_artifacts.items()}
        if self.context.backlog.is_waiting(self._result_name(self.record)):
            await self.context.backlog.flush()
        found = await self.context.in_thread(
            cache.load, self.context.store, self.program.name, self.record.cache_key, places
        )
        if isinstance(found, str):
            self.context.warn(found)
            return None
        return found

    def _knows_its_run(self) -> bool:
        """Whether it is told which run it is in, or how that went so far."""
        words = [*self.container.command, *self.container.args, *self.container.env.values()]
        return self.inputs.run_specific or bool(run_specific(words))

    def _is_to_be_refreshed(self) -> bool:
        return not {self.task.name, self.record.task}.isdisjoint(self.context.options.refresh)

    async def _execute(self, why_not: Callable[[], str], on_failure: Callable[[], None]) -> None:
        if self.record.cache_key:
            # A result is missing, so more will be: torch is worth importing now, beside the first, light tasks. (A
            # task that is never cached, such as a check of the parameters, says nothing about those after it.)
            await self.context.expect_heavy()
        if self.task.always or self._knows_its_run():
            # It may look into the journal, as a report of the run does: what was before it must be there.
            await self.context.backlog.flush()
        # Half a core is half of the time of one thread, but torch's threads do not share.
        held = replace(self.request, cpu=self.request.threads) if self.program.heavy else self.request
        failures = 0
        while True:
            async with self.context.capacity.hold(held):
                # Another attempt is no new task: what has begun continues although a sibling failed.
                reason = "" if failures else why_not()
                if reason:
                    self.record.status, self.record.error = "skipped", reason
                    if self.context.stop.is_set():
                        self.record.status = "cancelled"
                    return
                try:
                    async with self.context.folders_in_use.use(self._folders_of_volumes()):
                        await self._attempt()
                    return
                except (TaskFailed, UserError) as failure:
                    failures += 1
                    wait = self._wait_after(failure, failures)
                    if wait is None:
                        on_failure()
                        raise
                    error = self._clean(str(failure))
            self.context.listener(
                TaskRetried(
                    task=self.record.task, label=self.record.label, attempt=failures, wait_seconds=wait, error=error
                )
            )
            await _sleep(wait, self.context.stop)
            self.record.attempt = failures + 1

    def _wait_after(self, failure: Exception, failures: int) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        retry = self.task.retry
        if not isinstance(failure, TaskFailed) or failure.kind == "user" or self.context.stop.is_set():
            return None
        return None if retry is None or failures > retry.count else retry.wait(failures)

    async def _attempt(self) -> None:
        context, record = self.context, self.record
        self.folders.clear()
        make_output_folders(self.given)
        self._note_start()
        record.log = str(self.folders.log)
        self.folders.log.touch(mode=0o600)
        with self.folders.log.open("ab") as log:
            if record.attempt > 1:
                log.write(f"--- attempt {record.attempt}\n".encode())
        context.state.save_task(record)
        context.listener(TaskStarted(task=record.task, label=record.label, attempt=record.attempt, log=record.log))
        launch = self._launch()
        try:
            await self._follow(launch)
        finally:
            await context.in_thread(self.supplied.redaction.file, self.folders.log)
            if record.status != "succeeded" and self._is_contained():
                # Nobody has looked at what it left, and others will: a collection of garbage, say.
                remove_folder(self.folders.artifacts)

    def _folders_of_volumes(self) -> list[Path]:
        """Folders that its container shares with those of other tasks."""
        if not self._is_contained():
            return []
        roots = [(mount.root, mount.inside) for mount in self.supplied.mounts if mount.root is not None]
        return [root.resolve() / inside for root, inside in roots]

    def _is_contained(self) -> bool:
        return self.context.containers is not None and not self.program.on_host

    async def _follow(self, launch: Launch) -> None:
        """Runs the task's program to its end, and takes its outputs."""
        context, record = self.context, self.record
        worker = await worker_for(context, launch)
        ended = await worker.run(
            spec_of(context, launch), timeout=self.container.settings.timeout_seconds, stop=context.stop,
            on_start=self._note_start,
        )  # fmt: skip
        if context.stop.is_set() and ended.code != 0:
            record.status, record.error = "cancelled", "the run was stopped"
            return
        check_end(launch, ended, worker.log)
        try:
            parameters, artifacts = await context.in_thread(self._collect, _until_stopped(context.stop))
        except Abandoned:
            record.status, record.error = "cancelled", "the run was stopped"
            return
        except (OSError, StoreError) as error:
            raise TaskFailed("error", f"its outputs cannot be taken: {error}") from None
        record.output_parameters, record.output_artifacts = self._without_secrets(parameters, artifacts)
        record.status = "succeeded"
        self.seconds = time.time() - self.began

    def _clean(self, text: str) -> str:
        return printable(self.supplied.redaction.text(text))

    def _without_secrets(
        self, parameters: dict[str, Any], artifacts: dict[str, list[dict[str, Any]]]
    ) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        """The outputs as they may be written down, and handed to followers: without a secret that was returned."""
        hide = self.supplied.redaction
        clean = {name: hide.value(value) for name, value in parameters.items()}
        cleaned = {
            name: [{**item, "metadata": hide.value(item["metadata"])} for item in items]
            for name, items in artifacts.items()
        }
        held = [name for name in clean if clean[name] != parameters[name]]
        held += [name for name in cleaned if cleaned[name] != artifacts[name]]
        for name in held:
            self.context.warn(
                f"the output {name!r} of {self.record.label} contained a secret, which was replaced by ***; give "
                "the secret itself to the tasks that need it"
            )
        for name, items in cleaned.items():
            if name in held:
                for item in items:
                    item["content"] = content_digest(item, payload_of(item))
        return clean, cleaned

    def _collect(self, is_wanted: Callable[[], bool]) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        """Its outputs. What it wrote in a container is taken into the store first: its manifests name blobs."""
        context = self.context
        if not self._is_contained():
            return collect(self.component, self.given, self.folders, is_wanted=is_wanted)
        if not may_change_store(context):
            take_in(context.store, store_changes(self.folders))
        shared = (context.workspace,) if context.pipeline.has_workspace else ()
        return collect(self.component, self.given, self.folders, shared=shared, is_wanted=is_wanted)

    def _launch(self) -> Launch:
        for mount in self.supplied.mounts:
            mount.make_folder()
        return Launch(
            path=self.record.task, program=self.program, container=self.container, given=self.given, facts=self.facts,
            env={**self.env, **self.supplied.env}, request=self.request, folders=self.folders,
            mounts=self.supplied.mounts, secret=self.supplied.secret,
        )  # fmt: skip

    def _note_start(self) -> None:
        # Not earlier: the time that a worker still needs to import torch is not the task's.
        self.began = time.time()
        if self.record.attempt == 1:
            self.record.started = self.began

    async def _save(self) -> None:
        """Keeps the result for later runs: now, if followers read its bytes and may change them; else in a while."""
        if not self.record.output_artifacts:
            self._save_later(self.record, self.seconds)
            return
        problem = await self.context.in_thread(
            self._write_result, self.record, self.seconds, _until_stopped(self.context.stop)
        )
        if problem:
            self.context.warn(problem)

    def _save_later(self, record: TaskRecord, seconds: float) -> None:
        self.context.backlog.add(lambda: self._write_result(record, seconds), key=self._result_name(record))

    def _write_result(self, record: TaskRecord, seconds: float, is_wanted: Callable[[], bool] = always) -> str:
        try:
            cache.save(
                self.context.store, self.program.name, record.cache_key,
                parameters=record.output_parameters, artifacts=record.output_artifacts, seconds=seconds,
                is_wanted=is_wanted,
            )  # fmt: skip
        except (StoreError, OSError, ValueError, TypeError, Abandoned) as error:
            # ValueError and TypeError: an output that JSON cannot hold.
            return f"the result of {record.label} cannot be kept for a later run: {error}"
        return ""

    def _result_name(self, record: TaskRecord) -> str:
        return f"{self.program.name}/{record.cache_key}"

    def _forget_work(self) -> str:
        # Beside the other tasks, and not all at once when the run is over.
        remove_folder(self.folders.work)
        return ""


def _request(container: Container, given: Mapping[str, Any], facts: Mapping[str, str]) -> Request:
    cpu, memory = container.resources.cpu, container.resources.memory
    where = f"executor {container.label!r}"
    # Memory is assumed only where nothing is known of a task: whoever states its CPU has thought of it.
    assumed = UNREQUESTED.memory if cpu is None else 0.0
    return Request(
        cpu=UNREQUESTED.cpu if cpu is None else num_cores(as_text(resolve(cpu, given, facts)), f"{where}, CPU"),
        memory=assumed if memory is None else num_bytes(as_text(resolve(memory, given, facts)), f"{where}, memory"),
    )


def _until_stopped(stop: asyncio.Event) -> Callable[[], bool]:
    """Whether outputs are still waited for: when the run is stopped, as long as a task may take to end."""
    since: list[float] = []

    def is_wanted() -> bool:
        if stop.is_set() and not since:
            since.append(time.monotonic())
        return not since or time.monotonic() - since[0] < workers.GRACE_SECONDS

    return is_wanted


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Sleeps, but no longer than until the run is stopped."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return
