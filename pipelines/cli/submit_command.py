"""`trimtab submit` and `trimtab follow`."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from components.core.errors import UserError
from pipelines.cli.catalog import find_boxed
from pipelines.cli.deployment import Deployment
from pipelines.cli.run_command import given_parameters
from pipelines.cluster import quantities
from pipelines.cluster.client import Client, Endpoint, connect, ui_link
from pipelines.cluster.errors import ClusterError
from pipelines.cluster.following import follow
from pipelines.cluster.package import Package
from pipelines.cluster.submission import Version, ensure_version, run_parameters, start_run
from pipelines.runner.records.logs import printable

SUCCEEDED, FAILED = 0, 1


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The run to start, as given on the command line. `experiment` and `service_account` may be ""."""

    pipeline: str
    parameters: tuple[str, ...] = ()
    experiment: str = ""
    service_account: str = ""
    deployment: Deployment = field(default_factory=Deployment)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A submission that was read and checked locally, before any request to the cluster."""

    package: Package
    parameters: dict[str, Any]
    experiment: str
    service_account: str


def prepare(submission: Submission) -> Prepared:
    """Reads and checks everything that needs no cluster.

    Raises:
        UserError: the pipeline, a parameter, the values or the images are wrong.
    """
    path, given = find_boxed(submission.pipeline, given_parameters(submission.parameters))
    package = submission.deployment.package(path)
    parameters = run_parameters(package, given)
    account = submission.service_account or package.service_account
    if account:
        quantities.object_name(account, "--service-account")
    return Prepared(
        package=package, parameters=parameters, service_account=account,
        experiment=submission.experiment or package.name,
    )  # fmt: skip


def upload(client: Client, prepared: Prepared) -> Version:
    """Uploads the pipeline version unless the cluster has it, and prints which it is."""
    version = ensure_version(client, prepared.package)
    new = " (new)" if version.is_new else ""
    print(printable(f"pipeline {prepared.package.name}, version {prepared.package.version}{new}"))
    for before, after in sorted(prepared.package.images.items()):
        print(printable(f"  {before} → {after}"))
    return version


def submit_command(submission: Submission, endpoint: Endpoint, *, name: str, wait: bool, timeout: str) -> int:
    """Starts a run, prints its address and, if requested, waits for it; returns the exit code."""
    seconds = _seconds(timeout)
    if timeout and not wait:
        raise UserError("--timeout needs --wait")
    prepared = prepare(submission)
    client = connect(endpoint)
    version = upload(client, prepared)
    name = name or f"{prepared.package.name} {datetime.now():%Y-%m-%d %H:%M:%S}"
    run_id = start_run(
        client, version, experiment=prepared.experiment, name=name, parameters=prepared.parameters,
        service_account=prepared.service_account,
    )  # fmt: skip
    print(f"run {run_id} started: {ui_link(client, 'runs', run_id)}", flush=True)
    if wait:
        return _wait(client, run_id, endpoint, seconds)
    print(f"to wait for it: {_follow_line(run_id, endpoint)}")
    return SUCCEEDED


def follow_command(run_id: str, endpoint: Endpoint, *, timeout: str) -> int:
    """Waits for a run; returns the exit code."""
    seconds = _seconds(timeout)
    return _wait(connect(endpoint), run_id, endpoint, seconds)


def _wait(client: Client, run_id: str, endpoint: Endpoint, seconds: float | None) -> int:
    def say(line: str) -> None:
        print(f"{datetime.now():%H:%M:%S}  {printable(line)}", flush=True)

    continues = f"the run continues: {ui_link(client, 'runs', run_id)}; to wait again: {_follow_line(run_id, endpoint)}"
    try:
        state, error = follow(client, run_id, say=say, timeout_seconds=seconds)
    except KeyboardInterrupt:
        return _failed(f"stopped waiting; {continues}")
    except TimeoutError:
        return _failed(f"not finished after {seconds:g} s; {continues}")
    except ClusterError as problem:
        if problem.status == 404:
            raise
        return _failed(f"{problem} ({continues})")
    if state != "SUCCEEDED":
        because = f": {error}" if error else ""
        return _failed(f"run {run_id} {state.lower()}{because}; see {ui_link(client, 'runs', run_id)}")
    print(f"run {run_id} succeeded")
    return SUCCEEDED


def _failed(message: str) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return FAILED


def _seconds(timeout: str) -> float | None:
    return quantities.seconds(timeout, "--timeout") if timeout else None


def _follow_line(run_id: str, endpoint: Endpoint) -> str:
    """Shell command that continues to wait for the run."""
    words: Sequence[str] = (
        "trimtab", "follow", run_id,
        *(("--host", endpoint.host) if endpoint.host else ()),
        *(("--namespace", endpoint.namespace) if endpoint.namespace else ()),
        *(("--token-file", str(endpoint.token_file)) if endpoint.token_file else ()),
    )  # fmt: skip
    return shlex.join(words)
