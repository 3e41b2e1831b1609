"""A training stage as a TrainJob of Kubeflow Trainer v2 (trainer.kubeflow.org/v1alpha1), for several nodes.

What the API has no words for is left to the runtime that the job refers to; `left_out` names it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError
from components.core.store.store import ENVIRONMENT_VARIABLE
from pipelines.cluster.stage_values import StageValues

APIS = ("2.1", "2.2", "2.3")
"""Versions of Kubeflow Trainer that write a job's pods differently: podTemplateOverrides, runtimePatches, and the grace
period among them."""

POD_LABEL = {"app.kubernetes.io/name": "trimtab-training"}
"""Labels by which infra's network policies select the pods."""

GRACE_SECONDS = 120
_NODE = "node"  # the replicated job, and its container, of every runtime for torch
_MANAGER = "trimtab"
_UID = 10001
_MOST_NAME, _MOST_ARGUMENT = 40, 65536
_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_RESERVED = re.compile(r"PET_.*|RANK|LOCAL_RANK|WORLD_SIZE|MASTER_ADDR|MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Job:
    """`name` "" is made of the content, `namespace` "" is left to kubectl. `runtime`: a ClusterTrainingRuntime."""

    nodes: int
    processes_per_node: int
    name: str = ""
    namespace: str = ""
    runtime: str = "torch-distributed"
    api: str = "2.2"

    @property
    def num_processes(self) -> int:
        return self.nodes * self.processes_per_node


def train_job(
    task: Mapping[str, Any], container: Mapping[str, Any], chosen: StageValues, *, service_account: str, job: Job
) -> dict[str, Any]:
    """The manifest.

    Args:
        task: what `components.trainjob` is told.
        container: the stage's in the compiled pipeline, with image, resources and plain variables.
        chosen: the values file's settings of the stage.
        service_account: of the pods; "" is the namespace's default.

    Raises:
        UserError: a name that Kubernetes or the API refuses, no store, a variable that is torchrun's, more processes
            than devices.
    """
    _check(job, chosen)
    argument = json.dumps(task, sort_keys=True, separators=(",", ":"))
    if len(argument) > _MOST_ARGUMENT:
        raise UserError(f"the task has {len(argument)} characters; a TrainJob takes at most {_MOST_ARGUMENT}")
    trainer = {
        "image": container["image"],
        "command": ["python3", "-m", "components.trainjob"],
        "args": [argument.replace("$(", "$$(")],  # Kubernetes puts variables in
        "numNodes": job.nodes,
        "numProcPerNode": job.processes_per_node,
        "resourcesPerNode": _resources(container.get("resources", {}), chosen),
        "env": _environment(container, chosen),
    }
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": job.runtime},
        "trainer": trainer,
    }
    template = {"metadata": {"labels": dict(POD_LABEL)}, "spec": _pod(chosen, service_account, job.api)}
    if job.api == "2.1":
        spec["podTemplateOverrides"] = [{"targetJobs": [{"name": _NODE}], **template}]
    else:
        jobs = [{"name": _NODE, "template": {"spec": {"template": template}}}]
        patched = {"template": {"spec": {"replicatedJobs": jobs}}}
        spec["runtimePatches"] = [{"manager": _MANAGER, "trainingRuntimeSpec": patched}]
        if chosen.timeout_seconds:
            spec["activeDeadlineSeconds"] = chosen.timeout_seconds
    metadata = {"name": job.name or _name(str(task["stage"]), spec), "labels": {"app.kubernetes.io/part-of": "trimtab"}}
    if job.namespace:
        metadata["namespace"] = job.namespace
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def left_out(chosen: StageValues, api: str) -> list[str]:
    """Keys of the values file that mean nothing to a TrainJob of this version."""
    keys: dict[str, Any] = {"retry": chosen.retry, "imagePullPolicy": chosen.image_pull_policy}
    if api == "2.1":
        keys |= {"timeout": chosen.timeout_seconds, "securityContext": chosen.run_as}
    return [key for key, value in keys.items() if value]


def _check(job: Job, chosen: StageValues) -> None:
    for what, name, most in (
        ("--name", job.name, _MOST_NAME), ("--namespace", job.namespace, 63), ("--runtime", job.runtime, 253),
    ):  # fmt: skip
        if (name or what == "--runtime") and (not _NAME.fullmatch(name) or len(name) > most):
            raise UserError(
                f"{what}: {name!r} is not a valid name: begin with a letter, then use lower case letters, digits "
                f"and '-', at most {most} characters"
            )
    devices = chosen.accelerator
    if devices and job.processes_per_node > devices.count:
        raise UserError(
            f"--processes-per-node {job.processes_per_node} is more than the {devices.count} {devices.type} that "
            "the values file gives a node; each process needs its own device"
        )


def _name(stage: str, spec: Mapping[str, Any]) -> str:
    # Nearly everything in a TrainJob is immutable: other content is another job.
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return f"{stage.replace('_', '-')}-{digest[:10]}"


def _resources(resources: Mapping[str, Any], chosen: StageValues) -> dict[str, Any]:
    found: dict[str, dict[str, str]] = {}
    for kind, group in (("Request", "requests"), ("Limit", "limits")):
        for unit in ("cpu", "memory"):
            if quantity := resources.get(f"resource{unit.capitalize()}{kind}"):
                found.setdefault(group, {})[unit] = str(quantity)
        if chosen.accelerator:
            found.setdefault(group, {})[chosen.accelerator.type] = str(chosen.accelerator.count)
    return found


def _environment(container: Mapping[str, Any], chosen: StageValues) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {item["name"]: {"value": item.get("value", "")} for item in container["env"]}
    for kind, objects in (("configMapKeyRef", chosen.config_map_env), ("secretKeyRef", chosen.secret_env)):
        for name, keys in objects.items():
            for key, variable in keys.items():
                found[variable] = {"valueFrom": {kind: {"name": name, "key": key}}}
    if ENVIRONMENT_VARIABLE not in found:
        raise UserError(
            f"the job needs {ENVIRONMENT_VARIABLE}, the store of its inputs and its result; set it in the values file "
            "(configMapEnv or env; for an example see infra/overlays/*/values.yaml)"
        )
    for variable in found:
        if _RESERVED.fullmatch(variable):
            raise UserError(f"torchrun sets the variable {variable} itself; remove it from the values file")
    return [{"name": name, **source} for name, source in found.items()]


def _pod(chosen: StageValues, service_account: str, api: str) -> dict[str, Any]:
    """The pod's spec, as far as a job may change that of its runtime."""
    volumes: list[dict[str, Any]] = [
        {
            "name": volume.name,
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {
                        "accessModes": list(volume.access_modes),
                        "resources": {"requests": {"storage": volume.size}},
                        **({"storageClassName": volume.storage_class} if volume.storage_class else {}),
                    }
                }
            },
        }
        for volume in chosen.ephemeral_volumes
    ]
    mounts: list[dict[str, Any]] = [
        {"name": volume.name, "mountPath": volume.mount_path} for volume in chosen.ephemeral_volumes
    ]
    for number, (secret, path) in enumerate(chosen.secret_volumes.items()):
        volumes.append({"name": f"trimtab-secret-{number}", "secret": {"secretName": secret}})
        mounts.append({"name": f"trimtab-secret-{number}", "mountPath": path, "readOnly": True})
    if not any(volume.mount_path.rstrip("/") == "/tmp" for volume in chosen.ephemeral_volumes):
        volumes.append({"name": "trimtab-tmp", "emptyDir": {"sizeLimit": "8Gi"}})
        mounts.append({"name": "trimtab-tmp", "mountPath": "/tmp"})
    if chosen.accelerator:
        # nccl's processes of one node meet there, and a container has 64 MiB of it.
        volumes.append({"name": "trimtab-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}})
        mounts.append({"name": "trimtab-shm", "mountPath": "/dev/shm"})
    container: dict[str, Any] = {"name": _NODE, "volumeMounts": mounts}
    pod: dict[str, Any] = {"serviceAccountName": service_account} if service_account else {}
    if chosen.node_selector:
        pod["nodeSelector"] = dict(chosen.node_selector)
    if chosen.tolerations:
        pod["tolerations"] = [_toleration(toleration) for toleration in chosen.tolerations]
    if chosen.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in chosen.image_pull_secrets]
    if api != "2.1":
        run_as = chosen.run_as or {}
        pod["securityContext"] = {
            "runAsUser": run_as.get("run_as_user", _UID),
            "runAsGroup": run_as.get("run_as_group", _UID),
            "runAsNonRoot": run_as.get("run_as_non_root", True),
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    if api not in ("2.1", "2.2"):
        pod["terminationGracePeriodSeconds"] = GRACE_SECONDS
    return {**pod, "volumes": volumes, "containers": [container]}


def _toleration(toleration: Any) -> dict[str, Any]:
    keys = {
        "key": toleration.key, "operator": toleration.operator, "value": toleration.value, "effect": toleration.effect,
        "tolerationSeconds": toleration.seconds,
    }  # fmt: skip
    return {key: value for key, value in keys.items() if value not in ("", None)}
