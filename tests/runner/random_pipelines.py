"""Draws pipelines (`pipeline_descriptions.py`) that the SDK accepts: random control flow, random failures."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import strategies as st
from pipeline_descriptions import (
    PORTS,
    Branch,
    Call,
    Choice,
    Condition,
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
    inside,
)

DEEPEST = 3
MOST_NODES = 14
"""Of one pipeline, with all that is inside."""
MOST_TOGETHER = 4
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_LISTS = ([], [4], [2, 5], [6, 0, 3])
_PARTS = [{"a": 1, "b": 6}, {"a": 4, "b": 0}]


@dataclass(frozen=True, kw_only=True)
class Visible:
    """The sources at one place, by what they may feed, and the tasks and calls that may stand in an `after`.

    `lists` are of anything, `flat` ones hold integers and may be looped over.
    """

    numbers: tuple[Source, ...] = ()
    words: tuple[Source, ...] = ()
    lists: tuple[Source, ...] = ()
    flat: tuple[Source, ...] = ()
    artifacts: tuple[Source, ...] = ()
    artifact_lists: tuple[Source, ...] = ()
    leaves: tuple[str, ...] = ()

    def __add__(self, other: "Visible") -> "Visible":
        return Visible(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def deeper(self) -> "Visible":
        """The values visible in a group; the others get lost there, now and then, in the SDK's file."""
        numbers = tuple(source for source in self.numbers if not (isinstance(source, Item) and source.part))
        return replace(self, numbers=numbers, artifact_lists=(), flat=())

    def outputs(self) -> "Visible":
        """Without what is no node's output: a pipeline cannot hand out its inputs."""
        kept = {f.name: tuple(s for s in getattr(self, f.name) if isinstance(s, Output)) for f in fields(self)}
        return Visible(**kept)


_INPUTS = Visible(
    numbers=(Given("number"), Given("maybe")), words=(Given("word"),), lists=(Given("items"),),
    flat=(Given("items"),), artifacts=(Given("data"),),
)  # fmt: skip


def _of_leaf(name: str, *, flat: bool, leaf: bool = True) -> Visible:
    """The outputs of a task, a call, or a OneOf of them."""
    number, word, items, out = (Output(name, port) for port in ("number", "word", "items", "out"))
    return Visible(
        numbers=(number,), words=(word,), lists=(items,), flat=(items,) if flat else (), artifacts=(out,),
        leaves=(name,) if leaf else (),
    )  # fmt: skip


def _of_loop(name: str) -> Visible:
    number, word, items, out = (Output(name, port) for port in ("number", "word", "items", "out"))
    return Visible(lists=(number, word, items), artifact_lists=(out,))


class _Drawing:
    """One description in the making. Chances are written so that hypothesis shrinks towards what is not there."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.count = 0
        self.most = MOST_NODES
        self.choices: set[str] = set()

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) >= 100 - percent)

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def inputs(self, visible: Visible, *, is_task: bool) -> dict[str, Source]:
        kinds = {
            "number": visible.numbers, "word": visible.words, "items": visible.lists if is_task else visible.flat,
            "maybe": visible.numbers, "data": visible.artifacts, "all_data": visible.artifact_lists if is_task else (),
        }  # fmt: skip
        # The newest is the likeliest, so that chains come about; lists of artifacts are rare enough.
        return {
            name: options[-1] if self.chance(40) else self.pick(options)
            for name, options in kinds.items()
            if options and self.chance(80 if name == "all_data" else 50)
        }

    def after(self, visible: Visible, siblings: tuple[str, ...] = ()) -> tuple[str, ...]:
        options = (*visible.leaves, *siblings)
        return (self.pick(options),) if options and self.chance(25) else ()

    def task(self, visible: Visible, siblings: tuple[str, ...] = ()) -> Task:
        fails = self.pick([1, 2, 9]) if self.chance(18) else 0
        retried = self.chance(60 if fails else 15)
        return Task(
            name=self.name(), inputs=self.inputs(visible, is_task=True), after=self.after(visible, siblings),
            always=self.chance(15), fails=fails, only_odd=bool(fails) and self.chance(40),
            mistake=bool(fails) and self.chance(30), retries=self.pick([1, 2]) if retried else 0,
            cpu=self.pick(["0.1", "1", "64"]),
        )  # fmt: skip

    def call(self, visible: Visible, depth: int, siblings: tuple[str, ...]) -> Call:
        name = self.name()
        return Call(
            name=name, pipeline=self.pipeline(depth + 1), inputs=self.inputs(visible, is_task=False),
            after=self.after(visible, siblings), always=self.chance(15),
        )  # fmt: skip

    def test(self, visible: Visible) -> Condition:
        # Of a OneOf in a condition the SDK loses the output.
        unfit = {Output(name, port) for name in self.choices for port in ("number", "word")}
        if self.chance(30):
            words = [source for source in visible.words if source not in unfit]
            return Condition(left=self.pick(words), operator=self.pick(_OPERATORS), right=Constant("b5"))
        numbers = [source for source in visible.numbers if source not in unfit]
        left, right = self.pick(numbers), Constant(self.pick([0, 2, 3, 5]))
        return Condition(
            left=left, operator=self.pick(_OPERATORS), right=self.pick(numbers) if self.chance(20) else right
        )

    def choice(self, visible: Visible, depth: int, siblings: tuple[str, ...]) -> tuple[Choice, Visible]:
        name = self.name()
        # Not Elif without Else: behind it the SDK forgets to leave the group of branches.
        count, has_else = self.pick([(1, False), (2, True), (3, True)])
        branches = []
        for index in range(count):
            nodes, _ = self.nodes(visible.deeper(), depth + 1)
            test = None if has_else and index == count - 1 else self.test(visible)
            own = [node.name for node in nodes if isinstance(node, Task | Call)]
            branches.append(Branch(name=f"{name}.{index}", test=test, nodes=nodes, offers=self.pick(own)))
        if has_else:
            self.choices.add(name)
        choice = Choice(name=name, branches=tuple(branches), after=self.after(visible, siblings))
        return choice, _of_leaf(name, flat=False, leaf=False) if has_else else Visible()

    def collectable(self, nodes: tuple[Node, ...]) -> list[str]:
        """Leaves that a loop around these nodes may offer: of a branch that a OneOf may take, the SDK collects none."""
        leaves = [node.name for node in nodes if isinstance(node, Task | Call)]
        groups = [node for node in nodes if node.name not in self.choices]
        return leaves + [name for group in groups for name in self.collectable(inside(group))]

    def loop(self, visible: Visible, depth: int, siblings: tuple[str, ...], *, is_root: bool) -> tuple[Loop, Visible]:
        name = self.name()
        kind = self.pick(["flat", "constant", "nested", *(["parts"] if is_root else [])])
        items: Source = Constant(self.pick(_LISTS[1:]))  # the SDK refuses an empty constant
        inner = Visible(numbers=(Item(name),))
        if kind == "parts":
            items, inner = Constant(_PARTS), Visible(numbers=(Item(name, "a"), Item(name, "b")))
        elif kind == "nested":
            items, inner = Constant([[1, 2], [3]]), Visible(lists=(Item(name),), flat=(Item(name),))
        elif kind == "flat" and visible.flat:
            items = self.pick(visible.flat)
        nodes, _ = self.nodes(visible.deeper() + inner, depth + 1)
        offers = self.pick(self.collectable(nodes))
        loop = Loop(
            name=name, items=items, nodes=nodes, offers=offers, limit=self.pick([0, 0, 1, 2]),
            after=self.after(visible, siblings),
        )  # fmt: skip
        return loop, _of_loop(name)

    def handler(self, visible: Visible, siblings: tuple[str, ...]) -> Handler:
        name, after = self.name(), self.after(visible, siblings)
        nodes, _ = self.nodes(visible.deeper(), 1)
        leaving = {"after": (name,), "always": True, "leaving": True}
        if self.chance(30):
            call = Call(name=self.name(), pipeline=self.pipeline(DEEPEST), inputs=self.inputs(_INPUTS, is_task=False))
            return Handler(name=name, nodes=nodes, after=after, exit=replace(call, **leaving))
        inputs = self.inputs(replace(_INPUTS, artifacts=()), is_task=True)
        exit_task = Task(name=self.name(), inputs=inputs, told=True, retries=self.pick([0, 1]), **leaving)
        return Handler(
            name=name,
            nodes=nodes,
            after=after,
            exit=replace(exit_task, fails=self.pick([1, 2]) if self.chance(20) else 0),
        )

    def nodes(self, visible: Visible, depth: int, *, is_root: bool = False) -> tuple[tuple[Node, ...], Visible]:
        """The nodes of one DAG, a task first, and what is visible after them."""
        first = self.task(visible)
        found: list[Node] = [first]
        visible += _of_leaf(first.name, flat=True)
        kinds = ["task"]
        if depth < DEEPEST:
            kinds += ["choice", "loop", "call", *(["handler"] if is_root else [])]
        percent = 85 if depth == 0 else 55
        # Behind anything else comes a task, which may take what it gives.
        while not isinstance(found[-1], Task) or (self.count < self.most and self.chance(percent)):
            siblings = tuple(node.name for node in found)
            node: Node
            gives = Visible()
            match self.pick(kinds) if isinstance(found[-1], Task) else "task":
                case "task":
                    node = self.task(visible, siblings)
                    gives = _of_leaf(node.name, flat=True)
                case "call":
                    node = self.call(visible, depth, siblings)
                    gives = _of_leaf(node.name, flat=False)
                case "choice":
                    node, gives = self.choice(visible, depth, siblings)
                case "loop":
                    node, gives = self.loop(visible, depth, siblings, is_root=is_root)
                case _:
                    node = self.handler(visible, siblings)
            found.append(node)
            visible += gives
        return tuple(found), visible

    def pipeline(self, depth: int = 0) -> Pipeline:
        nodes, visible = self.nodes(_INPUTS, depth, is_root=True)
        own = visible.outputs()
        kinds = {"number": own.numbers, "word": own.words, "items": own.lists, "out": own.artifacts}
        return Pipeline(nodes=nodes, outputs={port: self.pick(options[::-1]) for port, options in kinds.items()})

    def together(self) -> Pipeline:
        """Several pipelines as one: a run costs more to start than to have more tasks."""
        calls: list[Node] = []
        for _ in range(self.draw(st.integers(2, MOST_TOGETHER))):
            name = self.name()
            self.most = self.count + MOST_NODES
            calls.append(Call(name=name, pipeline=self.pipeline(), inputs=self.inputs(_INPUTS, is_task=False)))
        return Pipeline(nodes=tuple(calls), outputs={port: Output(calls[0].name, port) for port in PORTS})


@st.composite
def pipelines(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Pipeline:
    """Descriptions of pipelines."""
    drawing = _Drawing(draw)
    return drawing.together() if drawing.chance(75) else drawing.pipeline()


def parameters() -> st.SearchStrategy[dict[str, Any]]:
    """The arguments of the run."""
    options = {"number": st.integers(0, 6), "maybe": st.integers(0, 6), "items": st.sampled_from(_LISTS)}
    return st.fixed_dictionaries({}, optional=options)
