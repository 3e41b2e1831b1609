"""`trimtab trainjob`: a training task of a pipeline as a Kubeflow Trainer TrainJob for kubectl."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import UserError
from components.core.parameters import check_declared
from pipelines.cli.catalog import find_pipeline
from pipelines.cli.deployment import Deployment
from pipelines.cli.opening import existing_store
from pipelines.cli.run_command import given_parameters
from pipelines.cluster.package import Package
from pipelines.cluster.settings import stage_names
from pipelines.cluster.stored_results import find_artifact
from pipelines.cluster.submission import run_parameters
from pipelines.cluster.task_inputs import LATER, GivenTask, find_training_task
from pipelines.cluster.trainjob import APIS, Job, left_out, train_job
from pipelines.cluster.values import read_values
from pipelines.form_arguments import form_of, resolved
from pipelines.runner.ir.parameters import pipeline_parameters

NUM_PROCESSES = "num_processes"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The command line: `parameters` of the pipeline, `settings` of the task, `inputs` as NAME=DIGEST."""

    task: str
    pipeline: str
    parameters: Sequence[str]
    settings: Sequence[str]
    inputs: Sequence[str]
    store: str
    service_account: str


def trainjob_command(wanted: Wanted, job: Job, deployment: Deployment, output: Path) -> None:
    """Writes the manifest and prints what it needs.

    Args:
        job: `processes_per_node` 0 means one process per accelerator of a node.

    Raises:
        UserError: the job cannot work; nothing is written.
    """
    if job.api not in APIS:
        raise UserError(f"--trainer must be one of {', '.join(APIS)}; got {job.api!r}")
    package = deployment.package(find_pipeline(wanted.pipeline))
    spec = package.documents[0]
    stages = stage_names(spec)
    values = read_values(deployment.values, set(stages.values()))
    given = given_parameters(wanted.parameters)
    asked = pipeline_parameters(package.parameters, run_parameters(package, given))
    form = form_of(package.name, package.parameters)
    checked = resolved(form, asked) if form else {}
    task = find_training_task(spec, wanted.task, asked, {"preflight": checked})
    chosen = values.of(stages[task.executor])
    devices = chosen.accelerator.count if chosen.accelerator else 1
    job = replace(job, processes_per_node=job.processes_per_node or devices)
    parameters = _parameters(task, wanted, {**asked, **checked}, job, given)

    container = spec["deploymentSpec"]["executors"][task.executor]["container"]
    told = {
        "stage": task.component,
        "parameters": parameters,
        "inputs": _inputs(task, wanted),
        "outputs": {name: task.types[name] for name in task.outputs},
    }
    account = wanted.service_account or package.service_account
    manifest = train_job(told, container, chosen, service_account=account, job=job)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(yaml.safe_dump(manifest, sort_keys=False, width=120), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    print(f"wrote {output}: TrainJob {manifest['metadata']['name']}, {job.nodes} nodes x {job.processes_per_node}")
    _say_what_is_left(package, container["image"], left_out(chosen, job.api), job)


def _parameters(
    task: GivenTask, wanted: Wanted, chosen: Mapping[str, Any], job: Job, given: Mapping[str, str]
) -> dict[str, Any]:
    """Parameters of the task as the pipeline would pass them, with this number of processes."""
    asked = chosen.get(NUM_PROCESSES)
    if NUM_PROCESSES in given and asked != job.num_processes:
        raise UserError(
            f"{NUM_PROCESSES} is {asked}, but --nodes {job.nodes} and --processes-per-node {job.processes_per_node} "
            f"give {job.num_processes}; leave {NUM_PROCESSES} out"
        )
    own = given_parameters(wanted.settings, option="--set")
    if NUM_PROCESSES in own:
        raise UserError(
            f"{NUM_PROCESSES} is the number of nodes times processes per node; give --nodes and --processes-per-node "
            "instead"
        )
    known = {name: value for name, value in task.parameters.items() if value is not LATER}
    if later := [name for name, value in task.parameters.items() if value is LATER and name not in own]:
        raise UserError(
            f"{', '.join(later)} of {task.name} is only known when the pipeline runs; give it with --set "
            f"{later[0]}=VALUE"
        )
    found = pipeline_parameters(task.declared, {**known, NUM_PROCESSES: job.num_processes, **own})
    check_declared(found)
    return found


def _inputs(task: GivenTask, wanted: Wanted) -> dict[str, Any]:
    given = given_parameters(wanted.inputs, option="--input")
    if unknown := [name for name in given if name not in task.producers]:
        known = ", ".join(task.producers)
        raise UserError(f"{task.name} has no input artifact {unknown[0]!r} (artifacts: {known})")
    with existing_store(wanted.store) as objects:
        found = {
            name: find_artifact(objects, given.get(name, ""), producer, what=f"input {name} of {task.name}")
            for name, producer in task.producers.items()
        }
    for name, artifact in found.items():
        title = artifact["type"].get("schemaTitle", "")
        if title != task.types[name]:
            raise UserError(f"input {name} of {task.name} must be a {task.types[name]}, but that digest is a {title}")
    return found


def _say_what_is_left(package: Package, image: str, keys: Sequence[str], job: Job) -> None:
    if "@sha256:" not in image:
        print(f"the image {image} is named by a tag; give --images FILE for one by its digest")
    if keys:
        print(f"a TrainJob cannot express {', '.join(keys)}: the settings of the runtime {job.runtime} apply")
    print(
        f"{package.name} reuses the result when it runs with the same parameters and "
        f"-p {NUM_PROCESSES}={job.num_processes}"
    )
