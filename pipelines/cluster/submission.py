"""Handing a pipeline to a cluster: its version, its experiment, a run. What is there already is used."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_server_api.models import V2beta1Pipeline

from components.core.errors import UserError
from components.core.parameters import ADVANCED
from pipelines.cluster.client import Client, quietly
from pipelines.cluster.errors import ClusterError
from pipelines.cluster.package import Package, write_ir
from pipelines.form_arguments import form_arguments, form_of
from pipelines.runner.ir.parameters import pipeline_parameters

_EQUALS = 1  # kfp's filter operation
_CONFLICT = 409


@dataclass(frozen=True, kw_only=True)
class Version:
    """A pipeline's version on the cluster; `is_new` if it was uploaded just now."""

    pipeline_id: str
    version_id: str
    is_new: bool


def run_parameters(package: Package, given: Mapping[str, str]) -> dict[str, Any]:
    """The given parameters, typed and checked as for a local run; others are left to the pipeline.

    Raises:
        UserError: an unknown name, a wrong type, a parameter that is missing, an input artifact.
    """
    for name in given:
        if name in package.artifacts:
            raise UserError(f"{name!r} is an input artifact, but KFP's API starts runs with parameters only")
    chosen = {**package.values, **_arguments(package, given)}
    values = pipeline_parameters(package.parameters, chosen)
    return {name: values[name] for name in chosen if name in values}


def _arguments(package: Package, given: Mapping[str, str]) -> Mapping[str, Any]:
    form = form_of(package.name, package.parameters)
    if form is None:
        return given
    named = form_arguments(form, given)
    if ADVANCED in named:
        named[ADVANCED] = {**(package.values.get(ADVANCED) or {}), **named[ADVANCED]}
    return named


def ensure_version(client: Client, package: Package) -> Version:
    """The version with this content: found by its name, which is made of the content's digest, else uploaded.

    Raises:
        ClusterError: the cluster fails or refuses.
    """
    pipeline_id, _ = _found_or_made(lambda: _find_pipeline(client, package), lambda: _create_pipeline(client, package))
    version_id, is_new = _found_or_made(
        lambda: _find_version(client, pipeline_id, package), lambda: _upload_version(client, pipeline_id, package)
    )
    return Version(pipeline_id=pipeline_id, version_id=version_id, is_new=is_new)


def ensure_experiment(client: Client, name: str) -> str:
    """The id of the experiment of this name.

    Raises:
        ClusterError: the cluster fails or refuses.
    """

    def get_or_create() -> str:
        with quietly():
            return str(client.create_experiment(name, namespace=client.get_user_namespace() or None).experiment_id)

    try:
        return get_or_create()
    except ClusterError as error:
        if error.status != _CONFLICT:
            raise
        # Somebody made it between the client's look and its request.
        return get_or_create()


def start_run(
    client: Client, version: Version, *, experiment: str, name: str, parameters: Mapping[str, Any], service_account: str
) -> str:
    """Starts a run and returns its id.

    Raises:
        ClusterError: the cluster fails or refuses. If the answer was lost, the message says that a run may be there.
    """
    experiment_id = ensure_experiment(client, experiment)
    try:
        with quietly():
            run = client.run_pipeline(
                experiment_id=experiment_id, job_name=name, params=dict(parameters),
                pipeline_id=version.pipeline_id, version_id=version.version_id,
                service_account=service_account or None,
            )  # fmt: skip
    except ClusterError as error:
        if not error.transient:
            raise
        raise ClusterError(
            f"{error} (whether the run was started is not known: look for {name!r} in the UI before you repeat this)",
            status=error.status, transient=True,
        ) from None  # fmt: skip
    return str(run.run_id)


def _found_or_made(find: Callable[[], str], make: Callable[[], str]) -> tuple[str, bool]:
    """The id of what is there, else of what is made; who makes it at the same time is met with a 409."""
    found = find()
    if found:
        return found, False
    try:
        return make(), True
    except ClusterError as error:
        found = find() if error.status == _CONFLICT else ""
        if not found:
            raise
        return found, False


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


def _find_pipeline(client: Client, package: Package) -> str:
    namespace = client.get_user_namespace() or None
    found = client.list_pipelines(filter=_named(package.name), namespace=namespace).pipelines or []
    return str(found[0].pipeline_id) if found else ""


def _create_pipeline(client: Client, package: Package) -> str:
    # Not by uploading: that would name the first version like the pipeline.
    pipeline = V2beta1Pipeline(
        display_name=package.name, description=package.description or None,
        namespace=client.get_user_namespace() or None,
    )  # fmt: skip
    return str(client._pipelines_api.pipeline_service_create_pipeline(pipeline=pipeline).pipeline_id)


def _find_version(client: Client, pipeline_id: str, package: Package) -> str:
    found = client.list_pipeline_versions(pipeline_id, filter=_named(package.version)).pipeline_versions or []
    return str(found[0].pipeline_version_id) if found else ""


def _upload_version(client: Client, pipeline_id: str, package: Package) -> str:
    with tempfile.TemporaryDirectory() as folder, quietly():
        path = Path(folder) / "pipeline.yaml"
        write_ir(package, path)
        uploaded = client.upload_pipeline_version(str(path), package.version, pipeline_id=pipeline_id)
    return str(uploaded.pipeline_version_id)
