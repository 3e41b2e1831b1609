"""Writes a stage's settings into a compiled pipeline: resources and retries into KFP's part, the rest, by means of
kfp-kubernetes, into the platform's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import components
from components.core.component_names import base_name
from components.core.errors import UserError
from components.core.results.code import VARIANT
from components.core.results.recall import THREADS_VARIABLE
from pipelines.cluster.stage_values import Accelerator, RetryPolicy, StageValues
from pipelines.cluster.values import Values
from pipelines.pods import set_temporary_folder, set_user
from pipelines.quantities import num_bytes, num_cores

STAGES = Path(components.__file__).parent
_MOUNTS = (
    "pvcMount", "secretAsVolume", "configMapAsVolume", "genericEphemeralVolume", "emptyDirMounts",
)  # fmt: skip


@dataclass
class _Settings:
    """All that kfp-kubernetes' functions touch of a task when their arguments are constants."""

    platform_config: dict[str, Any]


def stage_names(spec: dict[str, Any]) -> dict[str, str]:
    """Executor label → stage: the component's function, or its name where no function is known.

    Importers have no pod and are left out.
    """
    return {
        label: _function(executor["container"]) or base_name(label.removeprefix("exec-"))
        for label, executor in _executors(spec).items()
        if isinstance(executor, dict) and isinstance(executor.get("container"), dict)
    }


def apply_values(documents: list[dict[str, Any]], values: Values) -> list[dict[str, Any]]:
    """The documents with the settings written in; changes and returns them.

    Args:
        documents: the pipeline, and the platform's document if there is one.
        values: read for this pipeline's stages.

    Raises:
        UserError: a stage would request more than its limit.
    """
    spec, platform = documents[0], documents[1] if len(documents) > 1 else {}
    settings = (
        platform.setdefault("platforms", {})
        .setdefault("kubernetes", {})
        .setdefault("deploymentSpec", {})
        .setdefault("executors", {})
    )
    for label, stage in stage_names(spec).items():
        chosen = values.of(stage)
        _set_container(_executors(spec)[label]["container"], chosen, stage)
        written = _Settings(platform_config={"kubernetes": settings.get(label, {})})
        _set_pod(written, chosen, is_ours=(STAGES / stage / "component.py").is_file())
        if written.platform_config["kubernetes"]:
            settings[label] = written.platform_config["kubernetes"]
        if chosen.retry is not None:
            for task in _tasks(spec, label):
                task["retryPolicy"] = _retry_policy(chosen.retry)
    return [spec, platform] if settings or len(documents) > 1 else [spec]


def _executors(spec: dict[str, Any]) -> dict[str, Any]:
    found = spec.get("deploymentSpec", {}).get("executors", {})
    return found if isinstance(found, dict) else {}


def _function(container: dict[str, Any]) -> str:
    words = [*container.get("command", []), *container.get("args", [])]
    name: str = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--function_to_execute"), "")
    stage = name.partition(VARIANT)[0]
    return stage if (STAGES / stage / "component.py").is_file() else name


def _tasks(spec: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    """The tasks, in whatever DAG, whose component runs in this executor."""
    components = spec.get("components", {})
    mine = {name for name, component in components.items() if component.get("executorLabel") == label}
    for component in (spec.get("root", {}), *components.values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            if task.get("componentRef", {}).get("name") in mine:
                yield task


def _set_container(container: dict[str, Any], chosen: StageValues, stage: str) -> None:
    resources = container.setdefault("resources", {})
    for unit, kind, quantity in (
        ("cpu", "Request", chosen.cpu_request), ("cpu", "Limit", chosen.cpu_limit),
        ("memory", "Request", chosen.memory_request), ("memory", "Limit", chosen.memory_limit),
    ):  # fmt: skip
        if quantity:
            # The plain form is what back ends before 2.4 read; the SDK writes both.
            plain = num_cores(quantity, stage) if unit == "cpu" else num_bytes(quantity, stage) / 1e9
            resources[f"{unit}{kind}"] = plain
            resources[f"resource{unit.capitalize()}{kind}"] = quantity
    if chosen.accelerator is not None:
        resources["accelerator"] = _accelerator(chosen.accelerator)
    _check_limits(resources, stage)
    if not resources:
        del container["resources"]
    env = {item["name"]: item.get("value", "") for item in container.get("env", [])}
    if chosen.cpu_request and THREADS_VARIABLE in env:
        # A container cannot see its own request, and what it asks for without using it is wasted.
        env[THREADS_VARIABLE] = str(max(1, math.ceil(num_cores(chosen.cpu_request, stage))))
    env |= chosen.env
    if env:
        container["env"] = [{"name": name, "value": value} for name, value in env.items()]


def _accelerator(accelerator: Accelerator) -> dict[str, str]:
    count = str(accelerator.count)
    return {"type": accelerator.type, "count": count, "resourceType": accelerator.type, "resourceCount": count}


def _check_limits(resources: dict[str, Any], stage: str) -> None:
    for unit, parse in (("Cpu", num_cores), ("Memory", num_bytes)):
        request, limit = resources.get(f"resource{unit}Request"), resources.get(f"resource{unit}Limit")
        if not request or not limit or "{{" in f"{request}{limit}":
            continue
        if parse(str(request), stage) > parse(str(limit), stage):
            raise UserError(
                f"stage {stage}: it would request {request} of {unit.lower()} with a limit of {limit}; "
                f"raise resources.limits.{unit.lower()} or lower resources.requests.{unit.lower()}"
            )


def _retry_policy(retry: RetryPolicy) -> dict[str, Any]:
    return {
        "maxRetryCount": retry.limit,
        "backoffDuration": f"{retry.backoff_seconds}s",
        "backoffFactor": retry.factor,
        "backoffMaxDuration": f"{retry.max_backoff_seconds}s",
    }


def _set_pod(task: _Settings, chosen: StageValues, *, is_ours: bool) -> None:
    from kfp import kubernetes

    for label, value in chosen.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in chosen.tolerations:
        kubernetes.add_toleration(
            task, key=toleration.key or None, operator=toleration.operator or None, value=toleration.value or None,
            effect=toleration.effect or None, toleration_seconds=toleration.seconds,
        )  # fmt: skip
    if chosen.timeout_seconds:
        kubernetes.set_timeout(task, chosen.timeout_seconds)
    if chosen.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(chosen.image_pull_secrets))
    if chosen.image_pull_policy:
        kubernetes.set_image_pull_policy(task, chosen.image_pull_policy)
    for volume in chosen.ephemeral_volumes:
        _unmount(task, volume.mount_path)
        kubernetes.add_ephemeral_volume(
            task, volume.name, volume.mount_path, list(volume.access_modes), volume.size, volume.storage_class or None
        )
    for name, keys in chosen.secret_env.items():
        kubernetes.use_secret_as_env(task, name, dict(keys))
    for name, keys in chosen.config_map_env.items():
        kubernetes.use_config_map_as_env(task, name, dict(keys))
    for name, path in chosen.secret_volumes.items():
        _unmount(task, path)
        kubernetes.use_secret_as_volume(task, name, path)
    if chosen.run_as is not None:
        task.platform_config["kubernetes"].pop("securityContext", None)
        if chosen.run_as:
            kubernetes.set_security_context(task, **chosen.run_as)
    # Pipelines of others that use our stages: our own compile to this by themselves.
    elif is_ours and "securityContext" not in task.platform_config["kubernetes"]:
        set_user(task)
    if is_ours and not _mounted(task, "/tmp"):
        set_temporary_folder(task)


def _mounted(task: _Settings, path: str) -> list[tuple[str, dict[str, Any]]]:
    """(kind, mount) of what a task has mounted at this path."""
    config = task.platform_config["kubernetes"]
    at = path.rstrip("/")
    return [(kind, mount) for kind in _MOUNTS for mount in config.get(kind, []) if mount["mountPath"].rstrip("/") == at]


def _unmount(task: _Settings, path: str) -> None:
    """The values come before what the pipeline mounts there itself: a pod may have one mount at a path."""
    config = task.platform_config["kubernetes"]
    for kind, mount in _mounted(task, path):
        config[kind].remove(mount)
        if not config[kind]:
            del config[kind]
