"""The commands for a cluster: `trimtab submit | follow | schedule [ls | pause | resume | delete] | trainjob`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import UserError
from pipelines.cli.deployment import Deployment

if TYPE_CHECKING:
    from pipelines.cluster.client import Endpoint

VALUES = typer.Option(
    metavar="FILE", help="Settings of the pods; for an example see pipelines/cluster/values.example.yaml."
)
LOCK = typer.Option(
    metavar="FILE", help="Lock file that names images by digest [default: images/images.lock.json, if it exists]."
)
REGISTRY = typer.Option(metavar="HOST/PATH", help="A mirror to take the images from [default: $TRIMTAB_REGISTRY].")

_HOST = typer.Option(metavar="URL", help="Address of the KFP API or its UI [default: $KF_PIPELINES_ENDPOINT].")
_NAMESPACE = typer.Option(help="Your namespace, if KFP serves several users.")
_TOKEN_FILE = typer.Option(
    metavar="FILE", help="File with a bearer token [default: $TRIMTAB_KFP_TOKEN, or the pod's own token]."
)
_PARAMETER = typer.Option("-p", "--param", metavar="NAME=VALUE", help="Set a parameter of the pipeline; repeatable.")
_EXPERIMENT = typer.Option(help="Name of the experiment for the runs [default: the pipeline's name].")
_SERVICE_ACCOUNT = typer.Option(
    help="Service account of the pods [default: the one in the values file, else the cluster's default]."
)
_PIPELINE = "A pipeline's name, or the path of any compiled KFP v2 YAML."


def submit(
    pipeline: Annotated[str, typer.Argument(help=_PIPELINE)] = "optimize",
    host: Annotated[str, _HOST] = "",
    parameter: Annotated[list[str] | None, _PARAMETER] = None,
    experiment: Annotated[str, _EXPERIMENT] = "",
    run_name: Annotated[str, typer.Option(help="A name for the run [default: pipeline and time].")] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    service_account: Annotated[str, _SERVICE_ACCOUNT] = "",
    values: Annotated[Path | None, VALUES] = None,
    images: Annotated[Path | None, LOCK] = None,
    registry: Annotated[str, REGISTRY] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit code 0 only if it succeeds.")] = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Wait at most this long: 90s, 10m, 6h. The run continues.")
    ] = "",
) -> None:
    """Start a run on a cluster. An unchanged pipeline reuses its pipeline version."""
    from pipelines.cli.submit_command import Submission, submit_command

    submission = Submission(
        pipeline=pipeline, parameters=tuple(parameter or ()), experiment=experiment, service_account=service_account,
        deployment=Deployment(values=values, lock=images, registry=registry),
    )  # fmt: skip
    raise typer.Exit(
        submit_command(submission, _endpoint(host, namespace, token_file), name=run_name, wait=wait, timeout=timeout)
    )


def follow(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id on the cluster.")],
    host: Annotated[str, _HOST] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Wait at most this long: 90s, 10m, 6h. The run continues.")
    ] = "",
) -> None:
    """Wait for a run on a cluster; exit code 0 only if it succeeds."""
    from pipelines.cli.submit_command import follow_command

    raise typer.Exit(follow_command(run_id, _endpoint(host, namespace, token_file), timeout=timeout))


def trainjob(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task that trains: fine_tune, baseline or distill.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the TrainJob.")],
    pipeline: Annotated[str, typer.Option(help=_PIPELINE)] = "optimize",
    parameter: Annotated[list[str] | None, _PARAMETER] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the task itself; repeatable."),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=DIGEST", help="An input artifact, by its digest; repeatable."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that train together.")] = 2,
    processes_per_node: Annotated[
        int | None,
        typer.Option(min=1, help="Processes per node [default: its number of accelerators in the values file, or 1]."),
    ] = None,
    values: Annotated[Path | None, VALUES] = None,
    images: Annotated[Path | None, LOCK] = None,
    registry: Annotated[str, REGISTRY] = "",
    store: Annotated[str, typer.Option(help="Store with the inputs [default: as for run].")] = "",
    service_account: Annotated[str, _SERVICE_ACCOUNT] = "",
    name: Annotated[str, typer.Option(help="Name of the job [default: derived from its content].")] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the job [default: kubectl's].")] = "",
    runtime: Annotated[str, typer.Option(help="Name of the ClusterTrainingRuntime.")] = "torch-distributed",
    trainer: Annotated[
        str, typer.Option(metavar="2.1|2.2|2.3", help="Version of the cluster's Kubeflow Trainer.")
    ] = "2.2",
) -> None:
    """Write a training task as a Kubeflow TrainJob for several nodes."""
    from pipelines.cli.trainjob_command import Wanted, trainjob_command
    from pipelines.cluster.trainjob import Job

    wanted = Wanted(
        task=task, pipeline=pipeline, parameters=tuple(parameter or ()), settings=tuple(setting or ()),
        inputs=tuple(input_ or ()), store=store, service_account=service_account,
    )  # fmt: skip
    job = Job(
        nodes=nodes, processes_per_node=processes_per_node or 0, name=name, namespace=namespace, runtime=runtime,
        api=trainer,
    )  # fmt: skip
    trainjob_command(wanted, job, Deployment(values=values, lock=images, registry=registry), output)


def _endpoint(host: str, namespace: str, token_file: Path | None) -> "Endpoint":
    from pipelines.cluster.client import Endpoint

    return Endpoint(host=host, namespace=namespace, token_file=token_file)


schedule = typer.Typer(help="Run a pipeline on a schedule: --cron creates one.")

_SCHEDULE = typer.Argument(metavar="NAME", help="The schedule's name or id (see: trimtab schedule ls).")


@schedule.callback(invoke_without_command=True)
def make_schedule(
    context: typer.Context,
    cron: Annotated[
        str, typer.Option(metavar="'M H D M W'", help="When to run: five cron fields, or KFP's six with seconds first.")
    ] = "",
    pipeline: Annotated[str, typer.Option(help=_PIPELINE)] = "optimize",
    name: Annotated[
        str, typer.Option(help="Name of the schedule; replaces one of the same name [default: the pipeline's name].")
    ] = "",
    catch_up: Annotated[
        bool, typer.Option("--catch-up/--no-catch-up", help="Start every run that was missed, not only the last.")
    ] = False,
    max_concurrency: Annotated[int, typer.Option(min=1, max=10, help="Maximum number of runs at the same time.")] = 1,
    host: Annotated[str, _HOST] = "",
    parameter: Annotated[list[str] | None, _PARAMETER] = None,
    experiment: Annotated[str, _EXPERIMENT] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    service_account: Annotated[str, _SERVICE_ACCOUNT] = "",
    values: Annotated[Path | None, VALUES] = None,
    images: Annotated[Path | None, LOCK] = None,
    registry: Annotated[str, REGISTRY] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
) -> None:
    """Run a pipeline on a schedule. --cron creates it, or replaces the one of the same name."""
    if context.invoked_subcommand is not None:
        if cron:
            raise UserError(f"--cron creates a schedule; leave it out with {context.invoked_subcommand}")
        context.obj = (host, namespace, token_file)
        return
    if not cron:
        raise UserError("give --cron '0 3 * * 1' to create a schedule, or a command: ls, pause, resume, delete")
    from pipelines.cli.schedule_command import place_schedule
    from pipelines.cli.submit_command import Submission

    submission = Submission(
        pipeline=pipeline, parameters=tuple(parameter or ()), experiment=experiment, service_account=service_account,
        deployment=Deployment(values=values, lock=images, registry=registry),
    )  # fmt: skip
    place_schedule(
        submission, _endpoint(host, namespace, token_file), name=name, cron=cron, catch_up=catch_up,
        max_concurrency=max_concurrency,
    )  # fmt: skip


@schedule.command(name="ls")
def list_(
    context: typer.Context,
    host: Annotated[str, _HOST] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
) -> None:
    """List the schedules."""
    from pipelines.cli.schedule_command import print_schedules

    print_schedules(_inherited(context, host, namespace, token_file))


@schedule.command()
def pause(
    context: typer.Context,
    name: Annotated[str, _SCHEDULE],
    host: Annotated[str, _HOST] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
) -> None:
    """Pause a schedule: it starts no runs until it is resumed."""
    from pipelines.cli.schedule_command import pause_schedule

    pause_schedule(_inherited(context, host, namespace, token_file), name)


@schedule.command()
def resume(
    context: typer.Context,
    name: Annotated[str, _SCHEDULE],
    host: Annotated[str, _HOST] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
) -> None:
    """Resume a paused schedule."""
    from pipelines.cli.schedule_command import resume_schedule

    resume_schedule(_inherited(context, host, namespace, token_file), name)


@schedule.command()
def delete(
    context: typer.Context,
    name: Annotated[str, _SCHEDULE],
    host: Annotated[str, _HOST] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    token_file: Annotated[Path | None, _TOKEN_FILE] = None,
) -> None:
    """Delete a schedule; its runs stay."""
    from pipelines.cli.schedule_command import delete_schedule

    delete_schedule(_inherited(context, host, namespace, token_file), name)


def _inherited(context: typer.Context, host: str, namespace: str, token_file: Path | None) -> "Endpoint":
    """Endpoint from the options of the subcommand, else from those before it: `trimtab schedule --host URL ls`."""
    before_host, before_namespace, before_token = context.obj
    return _endpoint(host or before_host, namespace or before_namespace, token_file or before_token)
