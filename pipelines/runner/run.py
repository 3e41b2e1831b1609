"""Starting a run from a pipeline's file: checks first, then a folder of its own, then `conduct`."""

import asyncio
import difflib
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.store import Store, open_store
from pipelines.runner.code.program import Program
from pipelines.runner.code.programs import programs
from pipelines.runner.conduct import RunResult, conduct
from pipelines.runner.containers.engine import find_engine
from pipelines.runner.containers.images import image_programs
from pipelines.runner.containers.lifetime import Containers
from pipelines.runner.containers.permissions import check_permissions
from pipelines.runner.context import RunContext
from pipelines.runner.events import Listener
from pipelines.runner.ir.pipeline import Pipeline
from pipelines.runner.kubernetes_objects.checks import read_kubernetes_objects
from pipelines.runner.kubernetes_objects.supplied import KubernetesObjects
from pipelines.runner.options import DEFAULT_OPTIONS, RunOptions
from pipelines.runner.processes.environments import Environments
from pipelines.runner.processes.resources import Capacity, machine_cores, machine_memory
from pipelines.runner.processes.workers import Worker
from pipelines.runner.reading.reader import read_pipeline
from pipelines.runner.records.state import RunRecord, RunState, TaskRecord, has_run, is_at_work
from pipelines.runner.tasks.input_artifacts import bring_artifacts, pipeline_inputs

_RUN_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


def home_folder() -> Path:
    """Where runs and, unless told otherwise, the store are: `$TRIMTAB_HOME`, else `trimtab-out` here."""
    return Path(os.environ.get("TRIMTAB_HOME") or "trimtab-out").absolute()


def run_pipeline(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    store_uri: str = "",
    run_id: str = "",
    options: RunOptions = DEFAULT_OPTIONS,
    listener: Listener,
    home: Path | None = None,
) -> RunResult:
    """Runs a compiled pipeline to its end.

    Args:
        path: the YAML file.
        parameters: name → text as typed on a command line, or a typed value; an input artifact is `@path-or-uri`.
        store_uri: where results and artifacts' bytes go; "" for `$TRIMTAB_STORE`, else `<home>/store`.
        run_id: a name for the run; "" makes one up.
        options: how to run; see `RunOptions`.
        listener: hears what happens, on the thread that called.
        home: see `home_folder`.

    Raises:
        UserError: anything that is wrong with the request; nothing was started then.
    """
    home = home or home_folder()
    pipeline = read_pipeline(path)
    values, uris = pipeline_inputs(pipeline.root, parameters)
    check_task_names(pipeline, options.refresh)
    code_folders = [path.parent.absolute(), Path.cwd()]
    kubernetes_objects = read_kubernetes_objects(pipeline, values, options, home)
    code = programs_of(pipeline, code_folders, options)
    store = open_store(store_uri or os.environ.get("TRIMTAB_STORE") or str(home / "store"))
    if options.engine == "container":
        check_permissions(store, options)
    run_id = _checked_id(run_id) if run_id else _new_id(pipeline.name)
    store.check_writable()
    folder = _make_folder(home, run_id)
    try:
        artifacts = bring_artifacts(pipeline.root, uris, folder / "inputs")
    except UserError:
        shutil.rmtree(folder)
        raise
    (folder / "pipeline.yaml").write_text(pipeline.text, encoding="utf-8")
    state = RunState(folder)
    try:
        context = make_context(
            run_id=run_id, folder=folder, pipeline=pipeline, programs=code, store=store, state=state,
            listener=listener, options=options, kubernetes_objects=kubernetes_objects,
        )  # fmt: skip
        request = {**request_of(code_folders, code, options), "artifacts": artifacts}
        record = RunRecord(
            id=run_id, pipeline=pipeline.name, status="running", started=context.created, store=store.uri,
            parameters=values, pid=os.getpid(), request=request,
        )  # fmt: skip
        return asyncio.run(conduct(context, record))
    finally:
        state.close()


def make_context(
    *,
    run_id: str,
    folder: Path,
    pipeline: Pipeline,
    programs: Mapping[str, Program],
    store: Store,
    state: RunState,
    listener: Listener,
    options: RunOptions,
    kubernetes_objects: KubernetesObjects,
    finished: Mapping[str, TaskRecord] | None = None,
) -> RunContext:
    """A run's surroundings on this machine."""
    stop = asyncio.Event()
    return RunContext(
        run_id=run_id, folder=folder, pipeline=pipeline, programs=programs, store=store, state=state,
        capacity=Capacity(cpu=machine_cores(), memory=machine_memory()),
        light=Worker("light", folder / "logs" / "worker-light.txt"),
        heavy=Worker("heavy", folder / "logs" / "worker-heavy.txt"),
        environments=Environments(folder.parent.parent, folder / "logs", stop), kubernetes_objects=kubernetes_objects,
        containers=Containers(find_engine(), folder) if options.engine == "container" else None,
        listener=listener, options=options, finished=finished or {}, stop=stop,
    )  # fmt: skip


def programs_of(pipeline: Pipeline, folders: Sequence[Path], options: RunOptions) -> dict[str, Program]:
    """The program of every executor, by label: code of this machine, or images, which are pulled if they are not here.

    Raises:
        UserError: code, or an image, that is not there, named.
    """
    return image_programs(pipeline) if options.engine == "container" else programs(pipeline, folders)


def request_of(code_folders: Sequence[Path], code: Mapping[str, Program], options: RunOptions) -> dict[str, Any]:
    """Facts for `resume` besides the parameters: where the code is looked for, which it was, and how to run."""
    return {
        "places": [str(folder) for folder in code_folders],
        "code": {label: program.digest for label, program in code.items()},
        "use_cache": options.use_cache,
        "engine": options.engine,
        "secrets": {name: str(path.absolute()) for name, path in options.secrets.items()},
        "allow": sorted(options.allow),
        "allow_paths": [str(path.absolute()) for path in options.allow_paths],
    }


def check_task_names(pipeline: Pipeline, wanted: Sequence[str]) -> None:
    """Refuses the name, or the path in the run, of a task that the pipeline does not have."""
    dags = [component.dag for component in (pipeline.root, *pipeline.components.values()) if component.dag]
    known = {name for dag in dags for name in dag.tasks}
    for name in wanted:
        if name.rpartition("/")[2] not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(f"there is no task {name!r} in this pipeline; {hint}known: {', '.join(sorted(known))}")


def _checked_id(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(
            f"the run id {run_id!r} is not usable: give at most 100 letters, digits, '-', '_' and '.', and do not "
            "begin with '.'"
        )
    return run_id


def _new_id(pipeline: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")[:40] or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _make_folder(home: Path, run_id: str) -> Path:
    folder = home / "runs" / run_id
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)  # what tasks are told, print and return is for whoever runs them
        (folder / "logs").mkdir(mode=0o700)
    except FileExistsError:
        if not has_run(folder) and not is_at_work(folder):
            # Killed before it began: there is nothing to resume, and nothing that could be lost.
            (folder / "logs").mkdir(mode=0o700, exist_ok=True)
            return folder
        raise UserError(f"the run {run_id!r} already exists (in {folder}); choose another --run-id") from None
    except OSError as error:
        raise UserError(
            f"cannot create the run's folder {folder}: {error.strerror}; choose another place with TRIMTAB_HOME"
        ) from None
    return folder
