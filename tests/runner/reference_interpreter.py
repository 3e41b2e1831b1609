"""The result of a described pipeline by KFP's rules: no threads, no store, no YAML, one node after another.

    interpreter = Interpreter(held_back)
    ended = interpreter.pipeline(description, parameters, Scope(path="", given={}))
    interpreter.expected      # path → what is expected there

Timing decides one thing only, and there alone the interpreter looks at what the run did: after a failure nothing new
starts in the same DAG, so a node may have been *held back* if a node failed that does not come after it. (If one failed
that it comes after, even at several removes, it cannot start.) In a loop with a limit the same holds for iterations.
`unexcused` lists what was held back without such a failure.
"""

import zlib
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_descriptions import (
    DEFAULTS,
    PORTS,
    Branch,
    Call,
    Choice,
    Constant,
    Given,
    Handler,
    Item,
    Loop,
    Node,
    Output,
    Pipeline,
    Source,
    Task,
    leaves_in,
    needs,
    sources_in,
    with_exits,
)

Ports = Mapping[str, Any]
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


class Missing(Exception):  # noqa: N818  (a state, not a mistake)
    """A value was not given, or not produced."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One instance of a task, or a group that did not start. `before`: paths under which all must be over first."""

    status: str
    attempts: int = 1
    inputs: Ports = field(default_factory=dict)
    outputs: Ports = field(default_factory=dict)
    before: frozenset[str] = frozenset()
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a node ended: succeeded, failed or skipped (`blamed`: because of a failure). `ports` is what followers see,
    `leaves` the ports of every task and call inside, by name, for a Collected or OneOf outside."""

    status: str
    blamed: bool = False
    ports: Ports = field(default_factory=dict)
    leaves: Mapping[str, Ports] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The values visible at a place, and the tasks that must be over before anything there starts."""

    path: str
    given: Ports
    nodes: Mapping[str, Ports] = field(default_factory=dict)
    items: Mapping[str, Any] = field(default_factory=dict)
    before: frozenset[str] = frozenset()

    def under(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def value(self, source: Source) -> Any:
        match source:
            case Constant(value=value):
                return value
            case Item(loop=loop, part=part):
                return self.items[loop][part] if part else self.items[loop]
            case Given(name=name):
                table, key = self.given, name
            case Output(node=node, port=key):
                table = self.nodes.get(node, {})
        if key not in table:
            raise Missing(key)
        return table[key]

    def values(self, inputs: Mapping[str, Source]) -> dict[str, Any]:
        """Those that are there; an input without a value is as if it had not been written."""
        found = {}
        for name, source in inputs.items():
            try:
                found[name] = self.value(source)
            except Missing:
                continue
        return found


class Interpreter:
    """`held_back` says of a path whether the run did not start it because of a failure elsewhere in its DAG."""

    def __init__(self, held_back: Callable[[str], bool]) -> None:
        self.held_back = held_back
        self.expected: dict[str, Expected] = {}
        self.unexcused: list[str] = []
        self.held = 0

    def pipeline(self, pipeline: Pipeline, given: Ports, scope: Scope) -> Ended:
        inner = replace(scope, given={**DEFAULTS, **given}, nodes={}, items={})
        ended, seen = self.dag(pipeline.nodes, inner)
        return replace(ended, ports=seen.values(pipeline.outputs), leaves={})

    def dag(self, nodes: tuple[Node, ...], scope: Scope) -> tuple[Ended, Scope]:
        """Runs the nodes of one DAG; the scope comes back with their ports."""
        own = with_exits(nodes)
        scope = replace(scope, nodes=ChainMap({}, dict(scope.nodes)))
        paths = {node.name: _path(node, scope) for node in own}
        ended: dict[str, Ended] = {}
        upstream: dict[str, set[str]] = {}  # all that a node comes after, at any remove
        held: list[str] = []
        for node in own:
            direct = needs(node) & ended.keys()
            upstream[node.name] = direct.union(*(upstream[name] for name in direct))
            skipped = self.why_not(node, [ended[name] for name in direct], [ended[n] for n in upstream[node.name]])
            if skipped is None and not _always(node) and self.held_back(paths[node.name]):
                held.append(node.name)
                skipped = Ended(status="skipped", blamed=True)
            if skipped is not None:
                self.expected[paths[node.name]] = Expected(status="skipped")
            before = scope.before | {paths[name] for name in direct}
            ended[node.name] = skipped or self.node(node, replace(scope, before=before), ended)
            scope.nodes[node.name] = ended[node.name].ports  # type: ignore[index]
        failed = {name for name, end in ended.items() if end.status == "failed"}
        for name in held:
            self.hold(paths[name], any(name not in upstream[other] for other in failed))
        leaves = {name: ports for end in ended.values() for name, ports in end.leaves.items()}
        return Ended(status="failed" if failed else "succeeded", leaves=leaves), scope

    def hold(self, path: str, excused: bool) -> None:
        """Notes what the run did not start because of a failure, and whether there was one."""
        self.held += 1
        if not excused:
            self.unexcused.append(path)

    def why_not(self, node: Node, direct: list[Ended], upstream: list[Ended]) -> Ended | None:
        if _always(node):
            return None
        if any(end.status == "failed" for end in direct):
            return Ended(status="skipped", blamed=True)
        skipped = [end for end in direct if end.status == "skipped"]
        if skipped:
            return Ended(status="skipped", blamed=any(end.blamed for end in skipped))
        if any(end.status == "failed" for end in upstream):
            return Ended(status="skipped", blamed=True)
        return None

    def node(self, node: Node, scope: Scope, ended: Mapping[str, Ended]) -> Ended:
        match node:
            case Task():
                return self.farewell(node, scope, ended[node.after[0]]) if node.told else self.task(node, scope)
            case Call():
                end = self.pipeline(
                    node.pipeline, scope.values(node.inputs), replace(scope, path=scope.under(node.name))
                )
                return replace(end, leaves={node.name: end.ports})
        try:
            # A group is handed everything that anything inside it uses from its siblings.
            for source in sources_in(node):
                if isinstance(source, Output) and source.node in ended:
                    scope.value(source)
        except Missing:
            return self.broken(_path(node, scope))
        match node:
            case Handler():
                return self.dag(node.nodes, replace(scope, path=scope.under(node.name)))[0]
            case Loop():
                return self.loop(node, scope)
            case Choice():
                return self.choice(node, scope)
        raise AssertionError(node)

    def broken(self, path: str) -> Ended:
        """Something failed before anything of it started."""
        self.expected[path] = Expected(status="failed")
        return Ended(status="failed")

    def choice(self, choice: Choice, scope: Scope) -> Ended:
        alone = len(choice.branches) == 1
        inner = scope if alone else replace(scope, path=scope.under(choice.name))
        ends: dict[str, Ended] = {}
        held = []
        for index, branch in enumerate(choice.branches):
            if not alone and self.held_back(inner.under(branch.name)):
                held.append(inner.under(branch.name))
                self.expected[held[-1]] = Expected(status="skipped")
            else:
                ends[branch.name] = self.branch(branch, choice.branches[:index], inner)
        failed = any(end.status == "failed" for end in ends.values())
        for path in held:
            self.hold(path, failed)
        leaves = {name: ports for end in ends.values() for name, ports in end.leaves.items()}
        offered = [leaves[branch.offers] for branch in choice.branches if branch.offers in leaves]
        # A lone If is itself the node of its DAG; a group of branches succeeds when none was taken.
        status = ends[choice.branches[0].name].status if alone else "failed" if failed else "succeeded"
        return Ended(status=status, ports=offered[0] if offered else {}, leaves=leaves)

    def branch(self, branch: Branch, before: tuple[Branch, ...], scope: Scope) -> Ended:
        """Taken if all before it are false and it is true. What is false decides, even beside what has no truth."""
        path = scope.under(branch.name)
        truths = [*((_holds(earlier, scope), False) for earlier in before), (_holds(branch, scope), True)]
        if any(truth is not None and truth is not wanted for truth, wanted in truths):
            self.expected[path] = Expected(status="skipped")
            return Ended(status="skipped")
        if any(truth is None for truth, _ in truths):
            return self.broken(path)
        return self.dag(branch.nodes, replace(scope, path=path))[0]

    def loop(self, loop: Loop, scope: Scope) -> Ended:
        start = scope.under(loop.name)
        try:
            items = scope.value(loop.items)
        except Missing:
            return self.broken(start)
        ends, held = [], []
        for index, item in enumerate(items):
            inner = replace(scope, path=f"{start}/[{index}]", items={**scope.items, loop.name: item})
            if loop.limit and self.held_back(inner.path):
                held.append(inner.path)
            else:
                ends.append(self.dag(loop.nodes, inner)[0])
        failed = any(end.status == "failed" for end in ends)
        for path in held:
            self.hold(path, failed)
        leaves = {name: {port: _collected(port, name, ends) for port in PORTS} for name in leaves_in(loop.nodes)}
        return Ended(status="failed" if failed else "succeeded", ports=leaves[loop.offers], leaves=leaves)

    def task(self, task: Task, scope: Scope) -> Ended:
        inputs = {**DEFAULTS, **scope.values(task.inputs)}
        text, texts = inputs.pop("data", None), inputs.pop("all_data", [])
        shown = [inputs["number"], inputs["word"], inputs["items"], inputs.get("maybe"), text, texts]
        mark = zlib.crc32(f"{task.name} {shown}".encode())
        fails = task.fails if mark % 2 or not task.only_odd else 0
        outputs = {
            "number": mark % 7, "word": f"{'abc'[mark % 3]}{mark % 1000}", "items": [mark % 5, mark % 4][: mark % 3],
            "out": f"{task.name}:{mark}",
        }  # fmt: skip
        return self.tried(task, fails, inputs, outputs, scope)

    def farewell(self, task: Task, scope: Scope, handler: Ended) -> Ended:
        state = "FAILED" if handler.status == "failed" or handler.blamed else "COMPLETE"
        return self.tried(task, task.fails, {**DEFAULTS, **scope.values(task.inputs)}, {"word": state}, scope)

    def tried(self, task: Task, fails: int, inputs: Ports, outputs: Ports, scope: Scope) -> Ended:
        """A user's mistake is not tried again; anything else is, as often as it may."""
        attempts = 1 if task.mistake else min(fails, task.retries) + 1
        status = "failed" if fails >= attempts else "succeeded"
        produced = outputs if status == "succeeded" else {}
        self.expected[scope.under(task.name)] = Expected(
            status=status, attempts=attempts, inputs=inputs, outputs=produced, before=scope.before, always=task.always
        )
        return Ended(status=status, ports=produced, leaves={task.name: produced})


def _always(node: Node) -> bool:
    return isinstance(node, Task | Call) and node.always


def _path(node: Node, scope: Scope) -> str:
    alone = isinstance(node, Choice) and len(node.branches) == 1
    return scope.under(node.branches[0].name if alone else node.name)  # type: ignore[union-attr]


def _holds(branch: Branch, scope: Scope) -> bool | None:
    """Whether the branch's own condition is true; None if a value is missing."""
    if branch.test is None:
        return True
    try:
        return OPERATORS[branch.test.operator](scope.value(branch.test.left), scope.value(branch.test.right))
    except Missing:
        return None


def _collected(port: str, leaf: str, iterations: list[Ended]) -> list[Any]:
    """The results of the iterations, in their order; artifacts of nested loops are one list."""
    found = [end.leaves[leaf][port] for end in iterations if port in end.leaves.get(leaf, {})]
    if port == "out":
        return [text for item in found for text in (item if isinstance(item, list) else [item])]
    return found
