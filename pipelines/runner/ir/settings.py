"""Settings of one executor in a pipeline's platform document (kfp-kubernetes), as far as the runner honours them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Name:
    """Where the name of a Kubernetes object comes from: `text`, an `input` of the enclosing DAG, or the output `key` of
    the sibling `task`."""

    text: str = ""
    input: str = ""
    task: str = ""
    key: str = ""

    def __str__(self) -> str:
        return repr(self.text) if self.text else f"named by the {self._source()}"

    def _source(self) -> str:
        return f"input {self.input!r}" if self.input else f"output {self.key!r} of {self.task!r}"


@dataclass(frozen=True, kw_only=True)
class FromObject:
    """A secret or config map: `kind` is "secret" or "config map". An optional one may be missing."""

    kind: str
    name: Name
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class ObjectAsEnv(FromObject):
    """Values as environment variables: `variables` maps the key inside the object to the variable's name."""

    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ObjectAsFiles(FromObject):
    """Every key of the object as a file of a folder, which is mounted at `path`."""

    path: str


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A persistent volume (PVC), or a folder inside it, mounted at `path`."""

    name: Name
    path: str
    inside: str = ""


@dataclass(frozen=True, kw_only=True)
class ScratchMount:
    """An empty folder of the task's own (emptyDir, ephemeral volume), mounted at `path`."""

    volume: str
    path: str


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """One executor's settings; the default says nothing.

    `pod_fields` maps a variable to the path of the pod's field that it shows, `pod_metadata` such a path to its value,
    for the labels and annotations that the pipeline itself sets.
    """

    timeout_seconds: float | None = None
    env: tuple[ObjectAsEnv, ...] = ()
    files: tuple[ObjectAsFiles, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    scratch: tuple[ScratchMount, ...] = ()
    pod_fields: Mapping[str, str] = field(default_factory=dict)
    pod_metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> Iterator[Name]:
        """The names of all objects."""
        yield from (item.name for item in self.objects)
        yield from (item.name for item in self.volumes)

    @property
    def paths(self) -> Iterator[str]:
        """Where something is to be mounted."""
        yield from (item.path for item in self.files)
        yield from (item.path for item in self.volumes)
        yield from (item.path for item in self.scratch)

    @property
    def objects(self) -> tuple[FromObject, ...]:
        """All uses of secrets and config maps."""
        return (*self.env, *self.files)


NO_SETTINGS = ExecutorSettings()
