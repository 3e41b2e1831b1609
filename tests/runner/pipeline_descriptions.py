"""Pipelines as plain data: what `random_pipelines.py` draws, `described_pipelines.py` compiles with the SDK, and
`reference_interpreter.py` works out by hand.

Everything has the same ports, so that anything can feed anything: a task, and a nested pipeline, takes `number`,
`word`, `items`, `maybe`, `data` (tasks also `all_data`), all of them optional, and gives `number`, `word`, `items` and
the artifact `out`. Names of nodes are unique in the whole description.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

PORTS = ("number", "word", "items", "out")
DEFAULTS: Mapping[str, Any] = {"number": 3, "word": "w", "items": [1, 2]}
"""Of every task's and every pipeline's inputs; `maybe`, `data` and `all_data` have none."""


@dataclass(frozen=True)
class Constant:
    """A value written in the pipeline."""

    value: Any


@dataclass(frozen=True)
class Given:
    """An input of the enclosing pipeline."""

    name: str


@dataclass(frozen=True)
class Output:
    """A port of a node: of a task or a call, OneOf the branches of a choice, Collected from a loop."""

    node: str
    port: str


@dataclass(frozen=True)
class Item:
    """The item of an enclosing loop, or a part of it."""

    loop: str
    part: str = ""


Source = Constant | Given | Output | Item


class Brief:
    """Shown without what is as it is by default, so that a counter-example can be read."""

    def __repr__(self) -> str:
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) not in _usual(f)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would write every field


def _usual(known: "Field[Any]") -> list[Any]:
    return [known.default, known.default_factory() if callable(known.default_factory) else MISSING]


@dataclass(frozen=True, kw_only=True, repr=False)
class Task(Brief):
    """Computes. It fails in its first `fails` attempts (`only_odd`: only where what it computes is odd; `mistake`: with
    a UserError). `always`: it ignores failures upstream. `after`: names of siblings, or of tasks and calls outside.
    `leaving`: it is an exit task; `told`: and its only output is the state that it was told, as `word`."""

    name: str
    inputs: Mapping[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    always: bool = False
    fails: int = 0
    only_odd: bool = False
    mistake: bool = False
    retries: int = 0
    cpu: str = "0.1"
    leaving: bool = False
    told: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class Call(Brief):
    """A nested pipeline."""

    name: str
    pipeline: "Pipeline"
    inputs: Mapping[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    always: bool = False
    leaving: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class Condition(Brief):
    """`left operator right`."""

    left: Source
    operator: str
    right: Source


@dataclass(frozen=True, kw_only=True, repr=False)
class Branch(Brief):
    """If or Elif, or Else if `test` is None. `offers` names the task or call inside that a OneOf takes."""

    name: str
    test: Condition | None
    nodes: "tuple[Node, ...]"
    offers: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(Brief):
    """If, Elif, Else. With one branch the compiler writes no group around it."""

    name: str
    branches: tuple[Branch, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Loop(Brief):
    """ParallelFor. `offers` names the task or call, anywhere inside, that a Collected takes; `limit` 0 is none."""

    name: str
    items: Source
    nodes: "tuple[Node, ...]"
    offers: str
    limit: int = 0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Handler(Brief):
    """ExitHandler: `exit` is `leaving` and `always`, and comes after this alone."""

    name: str
    nodes: "tuple[Node, ...]"
    exit: Task | Call
    after: tuple[str, ...] = ()


Node = Task | Call | Choice | Loop | Handler


@dataclass(frozen=True, kw_only=True, repr=False)
class Pipeline(Brief):
    """`outputs`: a source for each port."""

    nodes: tuple[Node, ...]
    outputs: Mapping[str, Source]


def inside(node: Node) -> "tuple[Node, ...]":
    """The nodes directly inside a group."""
    match node:
        case Choice(branches=branches):
            return tuple(inner for branch in branches for inner in branch.nodes)
        case Loop(nodes=nodes) | Handler(nodes=nodes):
            return nodes
    return ()


def with_exits(nodes: tuple[Node, ...]) -> list[Node]:
    """The nodes, and each handler's exit task behind it."""
    return [part for node in nodes for part in ((node, node.exit) if isinstance(node, Handler) else (node,))]


def sources_in(node: Node) -> Iterator[Source]:
    """Every source that the node, or anything inside it, uses; the inside of a nested pipeline is its own."""
    match node:
        case Task(inputs=inputs) | Call(inputs=inputs):
            yield from inputs.values()
        case Loop(items=items):
            yield items
        case Choice(branches=branches):
            for branch in branches:
                if branch.test is not None:
                    yield from (branch.test.left, branch.test.right)
    for inner in inside(node):
        yield from sources_in(inner)


def needs(node: Node) -> set[str]:
    """Names of the nodes that this one, or anything inside it, waits for."""
    found = {source.node for source in sources_in(node) if isinstance(source, Output)} | set(node.after)
    return found.union(*map(needs, inside(node)))


def leaves_in(nodes: tuple[Node, ...]) -> set[str]:
    """Names of the tasks and calls, at any depth."""
    found = {node.name for node in nodes if isinstance(node, Task | Call)}
    return found.union(*(leaves_in(inside(node)) for node in nodes))
