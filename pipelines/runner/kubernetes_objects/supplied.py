"""Local stand-ins for the objects of a cluster that a pipeline names: secrets, config maps, volumes.

A secret or config map is a file or folder that whoever starts the run names (`--secret`); its values are in memory
only, and in the environment or the mounts of the tasks that use them. A volume is a folder, `<home>/volumes/<name>`.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.core.errors import UserError
from pipelines.runner.ir.settings import ExecutorSettings, FromObject, Name, ObjectAsEnv
from pipelines.runner.kubernetes_objects.files import value_digest
from pipelines.runner.kubernetes_objects.mounts import Mount
from pipelines.runner.kubernetes_objects.volume_tasks import volume_folder
from pipelines.runner.records.redaction import Redaction

_NAMESPACE = "kubeflow"  # where KFP's own manifests put the pods of a run
HOW_TO_GIVE = "a .env, JSON or YAML file of key: value, or a folder with one file per key"


@dataclass(frozen=True, kw_only=True)
class Supplied:
    """Settings of one task. `env` and `mounts` hold secrets; `digests` stand for them in the cache key, and `secret`
    has the names of such variables.

    `is_lasting` says that it sees a persistent volume: what it reads there is in no cache key, and what it writes there
    would be missing if it were not run.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mount, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    is_lasting: bool = False
    secret: frozenset[str] = frozenset()
    redaction: Redaction = field(default_factory=Redaction, repr=False)


NOTHING = Supplied()


@dataclass(frozen=True, kw_only=True)
class KubernetesObjects:
    """Local stand-ins for a run's objects. `objects`: name → key → value of secrets and config maps."""

    volumes: Path
    objects: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict, repr=False)

    def supply(
        self, settings: ExecutorSettings, names: Mapping[Name, str], facts: Mapping[str, str], work: Path
    ) -> Supplied:
        """The settings of a task whose object names are known.

        A secret or config map whose name is missing is left out, and a volume is not: KFP 2.17's driver does the same.

        Raises:
            UserError: an object, a key or a volume that is not there; a volume without a name.
        """
        env = _pod_fields(settings, facts)
        # The pipeline's author sets them, while a pod's name, say, differs from run to run.
        digests = {name: env[name] for name, path in settings.pod_fields.items() if path in settings.pod_metadata}
        placed: list[Mount] = []
        secret: set[str] = set()
        hidden: set[bytes] = set()
        for entry in (entry for entry in settings.env if entry.name in names):
            found = self.variables(entry, names[entry.name])
            env |= found
            digests |= {variable: value_digest(text.encode()) for variable, text in found.items()}
            if entry.kind == "secret":
                secret |= found.keys()
                hidden |= {text.encode() for text in found.values()}
        for files in (files for files in settings.files if files.name in names):
            values = self.values(files, names[files.name])
            placed.append(Mount(path=files.path, files=values))
            digests |= {f"{files.path}/{key}": value_digest(value) for key, value in values.items()}
            hidden |= set(values.values()) if files.kind == "secret" else set()
        for volume in settings.volumes:
            if volume.name not in names:
                raise UserError(
                    f"the volume (PVC) for {volume.path} has no name: it is {volume.name}, which was not given"
                )
            root = self.volume(names[volume.name])
            placed.append(Mount(path=volume.path, root=root, inside=volume.inside or "."))
        for scratch in settings.scratch:
            placed.append(Mount(path=scratch.path, root=work / "scratch" / scratch.volume))
        return Supplied(
            env=env, mounts=tuple(placed), digests=digests, is_lasting=bool(settings.volumes),
            secret=frozenset(secret),
            redaction=Redaction(hidden),
        )  # fmt: skip

    def variables(self, entry: ObjectAsEnv, name: str) -> dict[str, str]:
        """The environment variables of one entry.

        Raises:
            UserError: the object or a key is not there and not optional, or a value is not text.
        """
        values, found = self.values(entry, name), {}
        for key, variable in entry.variables.items():
            if key in values:
                found[variable] = _text(values[key], f"the {entry.kind} {name!r}, key {key!r}")
            elif not entry.optional:
                known = ", ".join(map(repr, values))
                raise UserError(
                    f"the {entry.kind} {name!r} has no key {key!r}; the file given with --secret has {known}"
                )
        return found

    def values(self, item: FromObject, name: str) -> Mapping[str, bytes]:
        """Key → value of an object; nothing, if it is optional and was not given."""
        if name not in self.objects and not item.optional:
            raise UserError(f"the {item.kind} {name!r} is missing; give it with --secret {name}=PATH: {HOW_TO_GIVE}")
        return self.objects.get(name, {})

    def volume(self, name: str) -> Path:
        """A volume's folder, which must be there."""
        folder = volume_folder(self.volumes, name)
        if not folder.is_dir():
            raise UserError(
                f"the volume (PVC) {name!r} does not exist here; create the folder {folder}, or a link to one, "
                "with the files that the pipeline expects"
            )
        return folder


def _pod_fields(settings: ExecutorSettings, facts: Mapping[str, str]) -> dict[str, str]:
    """A label or annotation that nobody has set is empty, as in Kubernetes."""
    values = {
        "metadata.name": facts["pipeline_task_uuid"].replace("/", "-"),
        "metadata.namespace": _NAMESPACE,
        "metadata.uid": facts["pipeline_task_uuid"],
        "metadata.labels['pipeline/runid']": facts["pipeline_job_uuid"],
        "spec.nodeName": socket.gethostname(),
        **settings.pod_metadata,
    }
    return {variable: values.get(path, "") for variable, path in settings.pod_fields.items()}


def _text(value: bytes, where: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{where}, is not text, so it cannot be an environment variable")
    return text
