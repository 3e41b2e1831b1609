"""The compiled pipeline as plain frozen data: what `reading` accepts and everything else works on.

The protobuf classes of kfp are not used here: importing them costs seconds (kfp's package imports its Kubernetes
client), and their `Value` turns every integer into a float.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.runner.ir.expressions import Condition, Selector
from pipelines.runner.ir.settings import NO_SETTINGS, ExecutorSettings


class Missing:
    """The type of `MISSING`: no value was given, which is not the same as a null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An input or output parameter. `type` is KFP's: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT,
    TASK_FINAL_STATUS."""

    type: str
    default: Any = MISSING
    optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ArtifactPort:
    """An input or output artifact."""

    schema_title: str = "system.Artifact"
    schema_version: str = "0.0.1"
    is_list: bool = False
    optional: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """A container's resource request as written: a number, a Kubernetes quantity, or a placeholder. None: not given."""

    cpu: str | None = None
    memory: str | None = None
    cpu_limit: str | None = None
    memory_limit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Container:
    """One executor. `command` and `args` still carry their placeholders."""

    label: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    resources: Resources
    settings: ExecutorSettings = NO_SETTINGS


@dataclass(frozen=True, kw_only=True)
class Importer:
    """An executor that brings an artifact from outside: from the URI in the input `uri_input`, else from `uri`.
    `metadata` still carries its placeholders."""

    label: str
    uri: str
    uri_input: str = "uri"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reimport: bool = False


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A value written in the pipeline; strings inside may hold placeholders."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class FromInput:
    """The value of an input of the enclosing DAG."""

    name: str


@dataclass(frozen=True, kw_only=True)
class FromTask:
    """An output of a sibling task."""

    task: str
    key: str


@dataclass(frozen=True, kw_only=True)
class FinalStatusOf:
    """How a sibling task ended."""

    task: str


@dataclass(frozen=True, kw_only=True)
class ParameterSource:
    """Where an input parameter comes from, and the expression that picks a part of it."""

    source: Constant | FromInput | FromTask | FinalStatusOf
    selector: Selector | None = None


@dataclass(frozen=True, kw_only=True)
class Iterator:
    """A ParallelFor: `items` is a constant list, or the name of an input of the task that holds the list.

    `over` says what is iterated: "parameters" or "artifacts". `limit` 0 means no limit on iterations at once.
    """

    over: str
    item: str
    items: tuple[Any, ...] | None = None
    items_input: str | None = None
    limit: int = 0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Attempt n + 1 starts min(`first_seconds` · `factor`ⁿ, `longest_seconds`) after attempt n failed (n from 0)."""

    count: int
    first_seconds: float = 0.0
    factor: float = 2.0
    longest_seconds: float = 3600.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after the given number of failures (1 or more)."""
        return min(self.first_seconds * self.factor ** (failures - 1), self.longest_seconds)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One node of a DAG. `dependencies` holds the written ones and every producer of an input."""

    name: str
    display_name: str
    component: str
    dependencies: tuple[str, ...] = ()
    parameters: Mapping[str, ParameterSource] = field(default_factory=dict)
    artifacts: Mapping[str, FromInput | FromTask] = field(default_factory=dict)
    condition: Condition | None = None
    always: bool = False
    cache: bool = True
    cache_key: str = ""
    retry: Retry | None = None
    iterator: Iterator | None = None


@dataclass(frozen=True, kw_only=True)
class Dag:
    """Tasks and outputs. An output lists its sources in order: the first that was produced is the value (OneOf)."""

    tasks: Mapping[str, Task]
    output_parameters: Mapping[str, tuple[FromTask, ...]] = field(default_factory=dict)
    output_artifacts: Mapping[str, tuple[FromTask, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Component:
    """Interface and implementation: exactly one of `container`, `importer` and `dag` is set."""

    name: str
    input_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_artifacts: Mapping[str, ArtifactPort] = field(default_factory=dict)
    output_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    output_artifacts: Mapping[str, ArtifactPort] = field(default_factory=dict)
    container: Container | None = None
    importer: Importer | None = None
    dag: Dag | None = None


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A whole compiled pipeline. `root` is a component whose implementation is the outermost DAG."""

    name: str
    description: str
    root: Component
    components: Mapping[str, Component]
    text: str
    has_workspace: bool = False
    warnings: tuple[str, ...] = ()
