"""Settings of one stage's pods: those of a values file as frozen data, spelled as in a pod."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from pipelines.cluster import quantities
from pipelines.cluster.sections import Section

_BY_ADMINISTRATOR = "KFP cannot set it for a task; infra/README.md says where it is set"
INEXPRESSIBLE = dict.fromkeys(
    (
        "terminationGracePeriodSeconds", "priorityClassName", "affinity", "podAffinity", "podAntiAffinity",
        "topologySpreadConstraints", "runtimeClassName", "schedulerName", "hostNetwork", "hostPath", "initContainers",
        "sidecars", "livenessProbe", "readinessProbe", "dnsPolicy", "readOnlyRootFilesystem", "capabilities",
        "seccompProfile", "allowPrivilegeEscalation", "fsGroup", "ephemeral-storage",
    ),
    _BY_ADMINISTRATOR,
)  # fmt: skip
"""Settings that people look for and kfp-kubernetes cannot express."""

_OF_THE_RUN = dict.fromkeys(
    ("serviceAccount", "serviceAccountName"),
    "KFP sets it for a whole run; write serviceAccount at the top of the file, or give --service-account",
)
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists")
_ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """`type` is an extended resource such as nvidia.com/gpu."""

    type: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A pod's toleration; "" and None stand for keys that are not written."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """`limit` attempts after the first, the first of them after `backoff_seconds`, then `factor` times as long."""

    limit: int
    backoff_seconds: int
    factor: float
    max_backoff_seconds: int


@dataclass(frozen=True, kw_only=True)
class EphemeralVolume:
    """A volume that lives as long as the pod. `storage_class` "" is the cluster's default."""

    name: str
    mount_path: str
    size: str
    access_modes: tuple[str, ...]
    storage_class: str


@dataclass(frozen=True, kw_only=True)
class StageValues:
    """Everything that a stage can be given; what is empty stays as the pipeline has it."""

    cpu_request: str = ""
    memory_request: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""
    accelerator: Accelerator | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    retry: RetryPolicy | None = None
    timeout_seconds: int = 0
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str = ""
    ephemeral_volumes: tuple[EphemeralVolume, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_map_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    secret_volumes: Mapping[str, str] = field(default_factory=dict)
    run_as: Mapping[str, int | bool] | None = None


def read_stage(content: Any, where: str) -> StageValues:
    """One stage's settings.

    Raises:
        UserError: an unknown key (with the nearest known one), one that KFP cannot express, or a wrong value.
    """
    section = Section(content, where, refused=INEXPRESSIBLE | _OF_THE_RUN)
    found: dict[str, Any] = {}
    for key, read in _READERS.items():
        if section.has(key):
            found |= read(section, key)
    section.finish()
    return StageValues(**found)


def _resources(section: Section, key: str) -> dict[str, Any]:
    resources = section.section(key)
    found = {}
    for group, suffix in (("requests", "request"), ("limits", "limit")):
        part = resources.section(group)
        for unit, read in (("cpu", quantities.cpu), ("memory", quantities.memory)):
            if part.has(unit):
                found[f"{unit}_{suffix}"] = read(part.take(unit), part.at(unit))
        part.finish()
    resources.finish()
    return found


def _accelerator(section: Section, key: str) -> dict[str, Any]:
    part = section.section(key)
    found = Accelerator(type=part.text("type"), count=part.integer("count", least=1, default=1))
    if not _LABEL.fullmatch(found.type) or "/" not in found.type:
        raise UserError(f"{part.at('type')}: {found.type!r} is not the name of a node resource, such as nvidia.com/gpu")
    part.finish()
    return {"accelerator": found}


def _node_selector(section: Section, key: str) -> dict[str, Any]:
    labels = section.texts(key)
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise UserError(f"{section.at(key)}: {label!r} is not a valid label key")
    return {"node_selector": labels}


def _tolerations(section: Section, key: str) -> dict[str, Any]:
    return {"tolerations": tuple(_toleration(part) for part in section.sections(key))}


def _toleration(part: Section) -> Toleration:
    found = Toleration(
        key=part.text("key", default=""),
        operator=part.choice("operator", _OPERATORS, default=""),
        value=part.text("value", default=""),
        effect=part.choice("effect", _EFFECTS, default=""),
        seconds=part.integer("tolerationSeconds", least=0) if part.has("tolerationSeconds") else None,
    )
    part.finish()
    if not found.key and found.operator != "Exists":
        raise UserError(f"{part.where} has no key; only operator: Exists tolerates every taint")
    if found.operator == "Exists" and found.value:
        raise UserError(f"{part.where}: operator Exists takes no value")
    if found.seconds is not None and found.effect != "NoExecute":
        raise UserError(f"{part.at('tolerationSeconds')} only applies with effect: NoExecute")
    return found


def _retry(section: Section, key: str) -> dict[str, Any]:
    part = section.section(key)
    found = RetryPolicy(
        limit=part.integer("limit", least=0),
        backoff_seconds=_seconds(part, "backoff", "10s"),
        factor=part.number("factor", least=1.0, default=2.0),
        max_backoff_seconds=_seconds(part, "maxBackoff", "1h"),
    )
    part.finish()
    return {"retry": found}


def _timeout(section: Section, key: str) -> dict[str, Any]:
    return {"timeout_seconds": quantities.seconds(section.take(key), section.at(key))}


def _seconds(part: Section, key: str, default: str) -> int:
    return quantities.seconds(part.take(key) if part.has(key) else default, part.at(key))


def _pull_secrets(section: Section, key: str) -> dict[str, Any]:
    names = section.items(key)
    return {"image_pull_secrets": tuple(quantities.object_name(name, section.at(key)) for name in names)}


def _pull_policy(section: Section, key: str) -> dict[str, Any]:
    return {"image_pull_policy": section.choice(key, ("Always", "IfNotPresent", "Never"))}


def _volumes(section: Section, key: str) -> dict[str, Any]:
    return {"ephemeral_volumes": tuple(_volume(part) for part in section.sections(key))}


def _volume(part: Section) -> EphemeralVolume:
    modes = part.items("accessModes") if part.has("accessModes") else ("ReadWriteOnce",)
    for mode in modes:
        if mode not in _ACCESS_MODES:
            raise UserError(f"{part.at('accessModes')} must be one of {', '.join(_ACCESS_MODES)}; got {mode!r}")
    found = EphemeralVolume(
        name=quantities.object_name(part.take("name"), part.at("name")),
        mount_path=part.text("mountPath"),
        size=quantities.memory(part.take("size"), part.at("size")),
        access_modes=tuple(modes),
        storage_class=part.text("storageClassName", default=""),
    )
    part.finish()
    _check_mount_path(found.mount_path, part.at("mountPath"))
    return found


def _secret_volumes(section: Section, key: str) -> dict[str, Any]:
    found = section.texts(key)
    for name, path in found.items():
        quantities.object_name(name, section.at(key))
        _check_mount_path(path, section.at(f"{key}.{name}"))
    if len(set(found.values())) < len(found):
        raise UserError(f"{section.at(key)} mounts two secrets at one path; each needs a folder of its own")
    return {"secret_volumes": found}


def _check_mount_path(path: str, where: str) -> None:
    if not path.startswith("/") or ".." in path.split("/") or not path.strip("/"):
        raise UserError(f"{where} must be an absolute path; got {path!r}")


def _env(section: Section, key: str) -> dict[str, Any]:
    variables = section.texts(key)
    for name in variables:
        _check_variable(name, section.at(key))
    return {"env": variables}


def _object_env(field_name: str) -> Callable[[Section, str], dict[str, Any]]:
    def read(section: Section, key: str) -> dict[str, Any]:
        objects = {}
        for name, keys in section.section(key).rest().items():
            quantities.object_name(name, section.at(key))
            objects[name] = Section({"keys": keys}, section.at(f"{key}.{name}")).texts("keys")
            for variable in objects[name].values():
                _check_variable(variable, section.at(f"{key}.{name}"))
        return {field_name: objects}

    return read


def _check_variable(name: str, where: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise UserError(f"{where}: {name!r} is not a valid name of an environment variable")


def _run_as(section: Section, key: str) -> dict[str, Any]:
    part = section.section(key)
    found: dict[str, int | bool] = {
        name: part.integer(spelled, least=0)
        for spelled, name in (("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group"))
        if part.has(spelled)
    }
    if part.has("runAsNonRoot"):
        found["run_as_non_root"] = part.flag("runAsNonRoot")
    part.finish()
    return {"run_as": found}


_READERS: dict[str, Callable[[Section, str], dict[str, Any]]] = {
    "resources": _resources,
    "accelerator": _accelerator,
    "nodeSelector": _node_selector,
    "tolerations": _tolerations,
    "retry": _retry,
    "timeout": _timeout,
    "imagePullSecrets": _pull_secrets,
    "imagePullPolicy": _pull_policy,
    "ephemeralVolumes": _volumes,
    "env": _env,
    "secretEnv": _object_env("secret_env"),
    "configMapEnv": _object_env("config_map_env"),
    "secretVolumes": _secret_volumes,
    "securityContext": _run_as,
}
STAGE_KEYS = tuple(_READERS)
