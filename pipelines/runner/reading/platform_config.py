"""The second document of a compiled pipeline: settings for Kubernetes (kfp-kubernetes).

What only says where or how a pod runs is listed once as a warning. Secrets, config maps and volumes are read here, and
`kubernetes_objects` holds what stands for them on this machine. What else would change the result is refused by name.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from components.images import GROUP, USER
from pipelines.runner.ir.settings import (
    NO_SETTINGS,
    ExecutorSettings,
    Name,
    ObjectAsEnv,
    ObjectAsFiles,
    ScratchMount,
    VolumeMount,
)
from pipelines.runner.reading.fields import Fields

_PLACEMENT = (
    "nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "podMetadata", "imagePullSecret",
    "imagePullPolicy", "enabledSharedMemory",
)  # fmt: skip
_PLACEMENT_OF_PIPELINE = ("resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure")

_POD_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName")
_POD_METADATA = re.compile(r"metadata\.(?:labels|annotations)\['[^'\]]+'\]")

TEMPORARY = "/tmp"
"""Every task has a folder for temporary files here, and `TMPDIR` names it: in a container it is `/tmp`'s own, and for a
process a mount over the machine's would hide what of the run lies there."""

_OUR_USER = {"runAsUser": f"{USER}", "runAsGroup": f"{GROUP}", "runAsNonRoot": True}
"""Pod settings of our own stages. Here a process is whoever started it, and a container is never root."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class PlatformConfig:
    """Settings that the runner honours, by executor label, and those that it reports as ignored."""

    executors: Mapping[str, ExecutorSettings] = field(default_factory=dict)
    has_workspace: bool = False
    warnings: tuple[str, ...] = ()

    def of(self, label: str) -> ExecutorSettings:
        """The settings of an executor."""
        return self.executors.get(label, NO_SETTINGS)


NOTHING = PlatformConfig()


def read(document: Any, name: str) -> PlatformConfig:
    """Reads the platform document.

    Raises:
        UserError: a setting that would change what the pipeline computes and is not known, or one that is malformed.
    """
    fields = Fields(document, f"{name} (second document)")
    executors: dict[str, ExecutorSettings] = {}
    unused: dict[str, None] = {}
    has_workspace = False
    for platform, settings in fields.groups("platforms"):
        if platform != "kubernetes":
            raise UserError(f"{settings.where}: the platform {platform!r} is not supported by the local runner")
        has_workspace = _read_kubernetes(settings, executors, unused)
    fields.finish()
    listed = ", ".join(unused)
    warnings = (f"settings for Kubernetes that mean nothing on one machine: {listed}",) if unused else ()
    return PlatformConfig(executors=executors, has_workspace=has_workspace, warnings=warnings)


def _read_kubernetes(fields: Fields, executors: dict[str, ExecutorSettings], unused: dict[str, None]) -> bool:
    """Fills `executors` and `unused`; returns whether the pipeline has a workspace."""
    deployment = fields.group("deploymentSpec")
    for label, executor in deployment.groups("executors"):
        executors[label] = _settings(executor)
        if executor.raw("securityContext", _OUR_USER) != _OUR_USER:
            unused["securityContext"] = None
        _skip(executor, _PLACEMENT, unused)
    deployment.finish()
    pipeline = fields.group("pipelineConfig")
    # Its size and storage class mean nothing here: the workspace is a folder.
    has_workspace = pipeline.has("workspace")
    pipeline.ignore("workspace")
    _skip(pipeline, _PLACEMENT_OF_PIPELINE, unused)
    fields.ignore("platform")
    fields.finish()
    return has_workspace


def _settings(fields: Fields) -> ExecutorSettings:
    seconds = fields.number("activeDeadlineSeconds", 0.0)
    env = (
        *_as_env(fields, "secretAsEnv", "secret", "secretName", "secretKey"),
        *_as_env(fields, "configMapAsEnv", "config map", "configMapName", "configMapKey"),
    )
    files = (
        *_as_files(fields, "secretAsVolume", "secret", "secretName"),
        *_as_files(fields, "configMapAsVolume", "config map", "configMapName"),
    )
    return ExecutorSettings(
        timeout_seconds=seconds or None, env=env, files=files, volumes=tuple(_volumes(fields)),
        scratch=tuple(_scratch(fields)), pod_fields=dict(_pod_fields(fields)),
        pod_metadata=dict(_pod_metadata(fields.group("podMetadata"))),
    )  # fmt: skip


def _as_env(fields: Fields, group: str, kind: str, name: str, key: str) -> Iterator[ObjectAsEnv]:
    for item in fields.sequence(group):
        variables = {}
        for pair in item.sequence("keyToEnv"):
            variables[pair.needed(key)] = _variable(pair, "envVar")
            pair.finish()
        yield ObjectAsEnv(kind=kind, name=_name(item, name), optional=item.flag("optional"), variables=variables)
        item.finish()


def _as_files(fields: Fields, group: str, kind: str, name: str) -> Iterator[ObjectAsFiles]:
    for item in fields.sequence(group):
        yield ObjectAsFiles(kind=kind, name=_name(item, name), optional=item.flag("optional"), path=_mount_path(item))
        item.finish()


def _volumes(fields: Fields) -> Iterator[VolumeMount]:
    for item in fields.sequence("pvcMount"):
        inside = item.text("subPath")
        if inside.startswith("/") or ".." in inside.split("/"):
            raise UserError(f"{item.where}.subPath must be a path inside the volume, found {inside!r}")
        name = _name(item, "constant", "pvcNameParameter") if item.has("pvcNameParameter") else _source(item)
        item.ignore("taskOutputParameter", "componentInputParameter", "constant")  # the same, as older SDKs write it
        yield VolumeMount(name=name, path=_mount_path(item), inside=inside)
        item.finish()


def _scratch(fields: Fields) -> Iterator[ScratchMount]:
    for group in ("emptyDirMounts", "genericEphemeralVolume"):
        for item in fields.sequence(group):
            volume = item.needed("volumeName")
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", volume):
                raise UserError(f"{item.where}.volumeName is not a valid name of a volume: {volume!r}")
            path = _mount_path(item)
            if path != TEMPORARY:
                yield ScratchMount(volume=volume, path=path)
            # Of what it is made and how large it may get: a folder of this machine has room as the machine has.
            item.ignore(
                "medium", "sizeLimit", "size", "accessModes", "defaultStorageClass", "storageClassName", "metadata"
            )
            item.finish()


def _pod_fields(fields: Fields) -> Iterator[tuple[str, str]]:
    for item in fields.sequence("fieldPathAsEnv"):
        path = item.needed("fieldPath")
        if path not in _POD_FIELDS and not _POD_METADATA.fullmatch(path):
            raise UserError(
                f"{item.where}: the local runner does not support the pod's field {path!r} as an environment "
                f"variable (known: {', '.join(_POD_FIELDS)}, metadata.labels['…'], metadata.annotations['…'])"
            )
        yield _variable(item, "name"), path
        item.finish()


def _pod_metadata(fields: Fields) -> Iterator[tuple[str, str]]:
    for kind in ("labels", "annotations"):
        group = fields.group(kind)
        for key in group.value:
            yield f"metadata.{kind}['{key}']", group.text(key)
    fields.finish()


def _variable(fields: Fields, key: str) -> str:
    name = fields.needed(key)
    if not _VARIABLE.fullmatch(name):
        raise UserError(f"{fields.where}.{key} is not a valid name of an environment variable: {name!r}")
    return name


def _mount_path(fields: Fields) -> str:
    path = fields.needed("mountPath")
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path or not path.strip("/"):
        raise UserError(f"{fields.where}.mountPath must be an absolute path, found {path!r}")
    return posixpath.normpath("/" + path.strip("/"))


def _name(fields: Fields, plain: str, parameter: str = "") -> Name:
    """A name as the SDK writes it: a parameter's source, and beside it, for older back ends, the plain text."""
    parameter = parameter or f"{plain}Parameter"
    text = fields.text(plain)
    if not fields.has(parameter):
        if not text:
            raise UserError(f"{fields.where}: {plain!r} is missing")
        return Name(text=text)
    source = fields.group(parameter)
    name = _source(source)
    source.finish()
    return name


def _source(fields: Fields) -> Name:
    if fields.has("componentInputParameter"):
        return Name(input=fields.needed("componentInputParameter"))
    if fields.has("taskOutputParameter"):
        part = fields.group("taskOutputParameter")
        name = Name(task=part.needed("producerTask"), key=part.needed("outputParameterKey"))
        part.finish()
        return name
    if fields.has("constant"):
        return Name(text=_plain(fields, "constant"))
    value = fields.group("runtimeValue")
    name = Name(text=_plain(value, "constant"))
    value.finish()
    return name


def _plain(fields: Fields, key: str) -> str:
    text = fields.needed(key)
    if "{{$" in text:
        raise UserError(f"{fields.where}.{key}: a placeholder in the name of an object is not supported: {text!r}")
    return text


def _skip(fields: Fields, harmless: tuple[str, ...], unused: dict[str, None]) -> None:
    for key in harmless:
        if fields.has(key):
            fields.ignore(key)
            unused[key] = None
    fields.finish()
