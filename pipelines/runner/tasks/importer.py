"""One importer task (`dsl.importer`): an artifact from outside, with its type, metadata and content digest.

What lies on this machine is read at each run, so that its followers' caching rests on the bytes of today. What lies in
a bucket is downloaded; it is taken from the result cache while no object under the URI has changed, unless the
importer says `reimport`.
"""

import hashlib
import time
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results import cache
from components.core.store import StoreError
from pipelines.runner.code.program import Program
from pipelines.runner.context import RunContext
from pipelines.runner.events import TaskStarted
from pipelines.runner.ir.parameters import typed
from pipelines.runner.ir.pipeline import Component, Importer, Task
from pipelines.runner.ir.placeholders import resolve
from pipelines.runner.options import RunOptions
from pipelines.runner.records.state import TaskRecord
from pipelines.runner.tasks.imports import (
    ImportStopped,
    Remote,
    download,
    find_remote,
    import_local,
    is_in_bucket,
    local_source,
)
from pipelines.runner.tasks.inputs import Inputs, digest_of, executor_inputs, with_defaults
from pipelines.runner.tasks.outcome import Outcome, Position
from pipelines.runner.tasks.task_records import finish, finished_before, new_record, outcome_of

_PROGRAM = Program(name="importer", digest=hashlib.sha256(b"importer 1").hexdigest())


async def run_importer(
    context: RunContext, task: Task, component: Component, inputs: Inputs, position: Position
) -> Outcome:
    """Runs an importer to its end and records it; `position.path` is the task's own path.

    A URI where nothing is fails the task with one line, and is not retried.
    """
    assert component.importer is not None
    inputs = with_defaults(inputs, component)
    record = new_record(task, component, position, position.path)
    record.parameters, record.inputs_digest = dict(inputs.parameters), digest_of(inputs)
    earlier = await finished_before(context, record)
    if earlier is not None:
        await finish(context, earlier, kept=True)
        return outcome_of(earlier)
    _start(context, record)
    saved_seconds = 0.0
    try:
        uri, promised = _promise(context, task, component, component.importer, inputs, position)
        _check_allowed(context.options, uri)
        if is_in_bucket(uri):
            target = context.folder / "artifacts" / position.path / promised["name"]
            artifact, saved_seconds = await _from_bucket(
                context, task, component.importer, record, uri, promised, target
            )
        else:
            artifact = await context.in_thread(import_local, uri, promised)
        record.output_artifacts = {promised["name"]: [artifact]}
        record.status = "succeeded"
        _note(record, f"{uri} is at {artifact['uri']}")
    except UserError as error:
        record.status, record.error, record.failure = "failed", str(error), "user"
        _note(record, f"error: {error}")
    except ImportStopped:
        record.status, record.error = "cancelled", "the run was stopped"
    record.ended = time.time()
    await finish(context, record, saved_seconds=saved_seconds)
    return outcome_of(record)


def _check_allowed(options: RunOptions, uri: str) -> None:
    """In containers a pipeline may be somebody else's: what it imports is what whoever runs it has said."""
    if options.engine == "process":
        return
    if is_in_bucket(uri):
        if not options.has_network:
            raise UserError(f"it wants to import {uri} with your credentials; to allow that, add --allow network")
    elif not options.allows_file(local_source(uri)):
        raise UserError(
            f"it wants to import {uri} from this machine; to allow that, add --allow-path with a folder that holds it"
        )


def _start(context: RunContext, record: TaskRecord) -> None:
    log = context.folder / "logs" / f"{record.task}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    log.write_text("", encoding="utf-8")
    record.started, record.log = time.time(), str(log)
    context.state.save_task(record)
    context.listener(TaskStarted(task=record.task, label=record.label, attempt=1, log=record.log))


def _note(record: TaskRecord, line: str) -> None:
    with Path(record.log).open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")


def _promise(
    context: RunContext, task: Task, component: Component, importer: Importer, inputs: Inputs, position: Position
) -> tuple[str, dict[str, Any]]:
    """The URI, and the artifact but for its bytes."""
    # The SDK writes the URI in two places; where it holds values of other tasks, only the task's input is right.
    uri = inputs.parameters.get(importer.uri_input, importer.uri)
    if not uri:
        raise UserError(f"input {importer.uri_input!r} was not given a value")
    metadata = resolve(importer.metadata, executor_inputs(inputs), context.facts(task.name, position.path))
    ((name, port),) = component.output_artifacts.items()
    kind = {"schemaTitle": port.schema_title, "schemaVersion": port.schema_version}
    return str(uri), {"name": name, "type": kind, "metadata": typed(metadata, "STRUCT", "the importer's metadata")}


async def _from_bucket(
    context: RunContext,
    task: Task,
    importer: Importer,
    record: TaskRecord,
    uri: str,
    promised: dict[str, Any],
    target: Path,
) -> tuple[dict[str, Any], float]:
    """The artifact, and the seconds that the cache saved."""
    remote = await context.in_thread(find_remote, uri)
    if task.cache and not importer.reimport:
        record.cache_key = _key(remote, promised)
    refreshed = not {task.name, record.task}.isdisjoint(context.options.refresh)
    if record.cache_key and context.options.use_cache and not refreshed:
        places = {promised["name"]: target}
        hit = await context.in_thread(cache.load, context.store, _PROGRAM.name, record.cache_key, places)
        if isinstance(hit, str):
            context.warn(hit)
        elif hit is not None:
            record.cached = True
            return hit[1][promised["name"]][0], hit[2]
    _note(record, f"downloading {len(remote.files)} object(s), {sum(file.size for file in remote.files)} bytes")
    began = time.time()
    artifact = await context.in_thread(download, remote, promised, target, context.stop.is_set)
    if record.cache_key:
        try:
            await context.in_thread(
                cache.save, context.store, _PROGRAM.name, record.cache_key, parameters={},
                artifacts={promised["name"]: [artifact]}, seconds=time.time() - began,
            )  # fmt: skip
        except (StoreError, OSError, ValueError, TypeError) as error:
            context.warn(f"the import of {record.label} cannot be cached: {error}")
    return artifact, 0.0


def _key(remote: Remote, promised: dict[str, Any]) -> str:
    """ "" if there is none: metadata that JSON cannot hold."""
    facts = {"uri": remote.uri, "objects": remote.facts(), "type": promised["type"], "metadata": promised["metadata"]}
    try:
        return cache.key_of(
            _PROGRAM.name,
            _PROGRAM.digest,
            parameters=facts,
            artifacts={},
            outputs=[promised["name"]],
            env={},
            threads=0,
        )
    except ValueError:
        return ""
