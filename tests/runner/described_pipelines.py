# ruff: noqa: B006, UP006, UP035, UP045  (KFP reads annotations, and knows typing's names only)
"""A description (`pipeline_descriptions.py`) as a pipeline: built with the SDK, compiled to YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

import yaml
from kfp import compiler, dsl
from kfp.dsl import Artifact, Input, Output
from pipeline_descriptions import (
    Branch,
    Call,
    Choice,
    Constant,
    Given,
    Handler,
    Item,
    Loop,
    Node,
    Pipeline,
    Source,
    Task,
    inside,
    with_exits,
)
from pipeline_descriptions import Output as Port


class Ports(NamedTuple):
    """An output of a nested pipeline."""

    number: int
    word: str
    items: list
    out: Artifact


def attempt(fails: int, mistake: bool) -> None:
    """Counts the attempts of this very task of this run, and fails in the first ones."""
    import os
    import pathlib

    count = pathlib.Path(os.environ["TRIMTAB_RUN_DIR"], "attempts", os.environ["TRIMTAB_TASK"], "count")
    count.parent.mkdir(parents=True, exist_ok=True)
    number = len(count.read_text()) + 1 if count.exists() else 1
    count.write_text("x" * number)
    if number <= fails:
        if mistake:
            from components.core.errors import UserError

            raise UserError("a mistake on purpose")
        raise RuntimeError(f"attempt {number} fails on purpose")


@dsl.component(base_image="python:3.11", additional_funcs=[attempt])
def compute(
    out: Output[Artifact],
    name: str,
    number: int = 3,
    word: str = "w",
    items: list = [1, 2],
    maybe: Optional[int] = None,
    data: Optional[Input[Artifact]] = None,
    all_data: Optional[Input[List[Artifact]]] = None,
    fails: int = 0,
    only_odd: bool = False,
    mistake: bool = False,
) -> NamedTuple("Ports", [("number", int), ("word", str), ("items", list)]):  # type: ignore[valid-type]
    import pathlib
    import zlib

    text = None if data is None else pathlib.Path(data.path).read_text()
    texts = [pathlib.Path(each.path).read_text() for each in all_data or []]
    mark = zlib.crc32(f"{name} {[number, word, items, maybe, text, texts]}".encode())
    attempt(fails if mark % 2 or not only_odd else 0, mistake)
    pathlib.Path(out.path).write_text(f"{name}:{mark}")
    return (mark % 7, f"{'abc'[mark % 3]}{mark % 1000}", [mark % 5, mark % 4][: mark % 3])


@dsl.component(base_image="python:3.11", additional_funcs=[attempt])
def farewell(
    status: dsl.PipelineTaskFinalStatus,
    number: int = 3,
    word: str = "w",
    items: list = [1, 2],
    maybe: Optional[int] = None,
    fails: int = 0,
    mistake: bool = False,
) -> NamedTuple("Ports", [("word", str)]):  # type: ignore[valid-type]
    attempt(fails, mistake)
    assert bool(status.error_message) is (status.state == "FAILED")
    return (status.state,)


class _Builder:
    """Calls the SDK for one pipeline function's body."""

    def __init__(self, given: Mapping[str, Any], pipelines: Mapping[str, Any]) -> None:
        self.given = given
        self.pipelines = pipelines
        self.tasks: dict[str, Any] = {}
        self.items: dict[str, Any] = {}
        self.groups: dict[str, Choice | Loop] = {}

    def value(self, source: Source) -> Any:
        match source:
            case Constant(value=value):
                return value
            case Given(name=name):
                return self.given[name]
            case Item(loop=loop, part=part):
                return getattr(self.items[loop], part) if part else self.items[loop]
            case Port(node=node, port=port):
                match self.groups.get(node):
                    case Choice(branches=branches):
                        return dsl.OneOf(*(self.value(Port(branch.offers, port)) for branch in branches))
                    case Loop(offers=leaf):
                        return dsl.Collected(self.value(Port(leaf, port)))
                return self.tasks[node].outputs[port]
        raise TypeError(source)

    def build(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            match node:
                case Task() | Call():
                    self.leaf(node)
                case Handler(nodes=inner, exit=leaving):
                    with dsl.ExitHandler(self.leaf(leaving), name=node.name):
                        self.build(inner)
                case Loop(nodes=inner):
                    items = self.value(node.items)
                    with dsl.ParallelFor(items, name=node.name, parallelism=node.limit or None) as item:
                        self.items[node.name] = item
                        self.build(inner)
                    self.groups[node.name] = node
                case Choice(branches=branches):
                    for index, branch in enumerate(branches):
                        with self.condition(branch, index):
                            self.build(branch.nodes)
                    self.groups[node.name] = node

    def condition(self, branch: Branch, index: int) -> Any:
        if branch.test is None:
            return dsl.Else(name=branch.name)
        left, right = self.value(branch.test.left), self.value(branch.test.right)
        test = {
            "==": lambda: left == right, "!=": lambda: left != right, "<": lambda: left < right,
            "<=": lambda: left <= right, ">": lambda: left > right, ">=": lambda: left >= right,
        }[branch.test.operator]()  # fmt: skip
        return dsl.Elif(test, name=branch.name) if index else dsl.If(test, name=branch.name)

    def leaf(self, node: Task | Call) -> Any:
        inputs = {name: self.value(source) for name, source in node.inputs.items()}
        if isinstance(node, Call):
            task = self.pipelines[node.name](**inputs)
        else:
            if not node.told:
                inputs |= {"name": node.name, "only_odd": node.only_odd}
            component: Any = farewell if node.told else compute
            task = component(**inputs, fails=node.fails, mistake=node.mistake)
            task.set_cpu_request(node.cpu)
            if node.retries:
                task.set_retry(node.retries, backoff_duration="0s")
        task.set_display_name(node.name)
        for other in node.after:
            if other in self.tasks:
                task.after(self.tasks[other])
        # The SDK's ignore_upstream_failure() raises a KeyError unless every input is given.
        task._ignore_upstream_failure_tag = node.always and not node.leaving
        self.tasks[node.name] = task
        return task


def _calls(nodes: tuple[Node, ...]) -> list[Call]:
    own = with_exits(nodes)
    return [node for node in own if isinstance(node, Call)] + [c for node in own for c in _calls(inside(node))]


def sdk_pipeline(description: Pipeline, name: str = "root") -> Any:
    """The SDK's pipeline of a description. Nested pipelines come first: the SDK wants them ready."""
    pipelines = {call.name: sdk_pipeline(call.pipeline, f"p-{call.name}") for call in _calls(description.nodes)}

    def pipeline(
        number: int = 3,
        word: str = "w",
        items: list = [1, 2],
        maybe: Optional[int] = None,
        data: Optional[Input[Artifact]] = None,
    ) -> NamedTuple("Ports", [("number", int), ("word", str), ("items", list), ("out", Artifact)]):  # type: ignore[valid-type]
        given = {"number": number, "word": word, "items": items, "maybe": maybe, "data": data}
        builder = _Builder(given, pipelines)
        builder.build(description.nodes)
        return Ports(**{port: builder.value(source) for port, source in description.outputs.items()})

    return dsl.pipeline(name=name)(pipeline)


def compile_description(description: Pipeline, path: Path) -> dict[str, Any]:
    """Writes the YAML; gives back what it holds.

    Raises:
        LostBySdk: the SDK wrote something that cannot run anywhere.
    """
    try:
        compiler.Compiler().compile(sdk_pipeline(description), str(path))
    except AssertionError as error:
        raise LostBySdk from error
    spec = yaml.safe_load(path.read_text())
    wanted = _edges_of_groups(description.nodes)
    for dag in _dags(spec):
        names = {node_name(spec, dag, key): key for key in dag["tasks"]}
        for name, key in names.items():
            others = {names[other] for other in wanted.get(name, ())}
            if others:
                # The SDK lets only tasks wait, and only for tasks; YAML from elsewhere may hold any edge.
                task = dag["tasks"][key]
                task["dependentTasks"] = sorted({*task.get("dependentTasks", ()), *others})
    path.write_text(yaml.safe_dump(spec))
    if _has_loose_ends(spec):
        raise LostBySdk
    return spec


class LostBySdk(Exception):  # noqa: N818  (a state, not a mistake)
    """The SDK's file refers to an input or output that it did not write: now and then, by the order of a set, it
    forgets to hand something on into a group. The runner refuses that, and so does a cluster; the SDK itself may."""


def _has_loose_ends(spec: Mapping[str, Any]) -> bool:
    components = spec["components"]
    for part in (spec["root"], *components.values()):
        tasks = part.get("dag", {}).get("tasks", {})
        for task in tasks.values():
            for kind, sources in task.get("inputs", {}).items():
                singular = kind[:-1].capitalize()
                for source in sources.values():
                    if f"componentInput{singular}" in source:
                        holder, key = part.get("inputDefinitions", {}), source[f"componentInput{singular}"]
                    elif f"taskOutput{singular}" in source:
                        output = source[f"taskOutput{singular}"]
                        producer = components[tasks[output["producerTask"]]["componentRef"]["name"]]
                        holder, key = producer.get("outputDefinitions", {}), output[f"output{singular}Key"]
                    else:
                        continue
                    if key not in holder.get(kind, {}):
                        return True
    return False


def _edges_of_groups(nodes: tuple[Node, ...]) -> dict[str, set[str]]:
    """Name in the YAML → names of the siblings that it must wait for, where one of the two is a group."""
    own = {node.name: node for node in with_exits(nodes)}
    found: dict[str, set[str]] = {}
    for node in own.values():
        others = [own[name] for name in node.after if name in own]
        groups = [other for other in others if inside(node) or inside(other)]
        if groups:
            found[written_name(node)] = {written_name(other) for other in groups}
        for part in node.branches if isinstance(node, Choice) else [node]:
            found |= _edges_of_groups(part.nodes if isinstance(part, Branch) else inside(part))
        if isinstance(node, Call):
            found |= _edges_of_groups(node.pipeline.nodes)
    return found


def written_name(node: Node) -> str:
    """A lone If is written without a group around its one branch."""
    return node.branches[0].name if isinstance(node, Choice) and len(node.branches) == 1 else node.name


def _dags(spec: Mapping[str, Any]) -> list[Any]:
    return [part["dag"] for part in (spec["root"], *spec["components"].values()) if "dag" in part]


def node_name(spec: Mapping[str, Any], dag: Mapping[str, Any], key: str) -> str:
    """The description's name of a task of the YAML. The group around branches cannot be given one; its branches can."""
    task = dag["tasks"][key]
    if not key.startswith("condition-branches-"):
        return str(task["taskInfo"]["name"])
    branches = spec["components"][task["componentRef"]["name"]]["dag"]["tasks"]
    return str(next(iter(branches.values()))["taskInfo"]["name"]).partition(".")[0]


def described_path(spec: Mapping[str, Any], path: str) -> str:
    """A task's path in the run, in the names of the description."""
    dag, found = spec["root"]["dag"], []
    for key in path.split("/"):
        if key.startswith("["):
            found.append(key)
            continue
        found.append(node_name(spec, dag, key))
        dag = spec["components"][dag["tasks"][key]["componentRef"]["name"]].get("dag", {})
    return "/".join(found)
