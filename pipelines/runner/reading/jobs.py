"""A pipeline in one of its wrappings: a job (`pipelineSpec` beside `runtimeConfig`), or Kubernetes manifests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.core.errors import UserError
from pipelines.runner.ir.parameters import typed
from pipelines.runner.ir.pipeline import Component
from pipelines.runner.reading.fields import Fields, whole

_MANIFEST_GROUP = "pipelines.kubeflow.org/"


@dataclass(frozen=True, kw_only=True)
class Unwrapped:
    """The documents of a plain compiled pipeline, and what the wrapping says beside it."""

    documents: list[Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def unwrap(documents: list[Any], name: str) -> Unwrapped:
    """Takes off a wrapping; anything else is handed on as it is.

    Raises:
        UserError: a wrapping with a key that would change the result and is not supported.
    """
    first = documents[0] if documents else None
    if isinstance(first, dict) and isinstance(first.get("pipelineSpec"), dict):
        return _job(Fields(first, name), documents[1:])
    versions = [item for item in documents if _is_manifest(item, "PipelineVersion")]
    if len(versions) == 1 and all(item is versions[0] or _is_manifest(item, "Pipeline") for item in documents):
        spec = versions[0].get("spec")
        if isinstance(spec, dict) and isinstance(spec.get("pipelineSpec"), dict):
            return Unwrapped(documents=[spec[key] for key in ("pipelineSpec", "platformSpec") if spec.get(key)])
    return Unwrapped(documents=documents)


def _is_manifest(document: Any, kind: str) -> bool:
    return (
        isinstance(document, dict)
        and str(document.get("apiVersion", "")).startswith(_MANIFEST_GROUP)
        and document.get("kind") == kind
    )


def _job(fields: Fields, others: list[Any]) -> Unwrapped:
    spec = fields.raw("pipelineSpec", {})
    platform = fields.raw("platformSpec", None)
    config = fields.group("runtimeConfig")
    values = dict(config.group("parameterValues").value)
    for key, item in config.groups("parameters"):  # the form of schema 2.0.0
        kind = next((kind for kind in ("stringValue", "intValue", "doubleValue") if item.has(kind)), "")
        value = item.raw(kind, None)
        values[key] = whole(value, f"{item.where}.intValue") if kind == "intValue" else value
        item.finish()
    config.refuse("inputArtifacts", "input artifacts by their id; give them with -p name=@path-or-uri")
    policy = config.text("failurePolicy")
    config.ignore("gcsOutputDirectory", "defaultRuntime")
    config.finish()
    # Names, and where and as whom it ran.
    fields.ignore(
        "name", "displayName", "labels", "encryptionSpec", "serviceAccount", "network", "reservedIpRanges",
        "templateUri", "templateMetadata", "createTime", "startTime", "endTime", "updateTime", "state", "jobDetail",
        "preflightValidations", "pipelineTaskRerunConfigs",
    )  # fmt: skip
    fields.finish()
    warnings: tuple[str, ...] = ()
    if policy == "PIPELINE_FAILURE_POLICY_FAIL_SLOW":
        warnings = (
            f"{config.where}.failurePolicy: after a failure no new task starts in the same DAG, unlike {policy}",
        )
    return Unwrapped(documents=[spec, *([platform] if platform else []), *others], values=values, warnings=warnings)


def with_values(root: Component, values: Mapping[str, Any], name: str) -> Component:
    """The root component with a job's values as the defaults of its parameters.

    Raises:
        UserError: the pipeline has no such parameter, or the value is of another type.
    """
    parameters = dict(root.input_parameters)
    for key, value in values.items():
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise UserError(
                f"{name}: runtimeConfig gives the parameter {key!r}, which the pipeline does not have (known: {known})"
            )
        if value is not None:
            default = typed(value, parameters[key].type, f"{name}: the parameter {key!r} of runtimeConfig")
            parameters[key] = replace(parameters[key], default=default, optional=True)
    return replace(root, input_parameters=parameters)
