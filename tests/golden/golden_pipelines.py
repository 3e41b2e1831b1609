# ruff: noqa: B006, UP006, UP014, UP035, UP045, PTH123, SIM117, PT018
"""Pipelines that every SDK since 2.0 can compile (branches: since 2.4), for tests/runner/test_golden.py.

    python -m venv old; old/bin/pip install kfp==2.0.1 'setuptools<80'; old/bin/python tests/golden/golden_pipelines.py

writes tests/golden/kfp-2.0.1/. The files are kept as that SDK wrote them; do not edit them.
"""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import kfp
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11")
def add(a: int, b: int = 2) -> int:
    assert type(a) is int and type(b) is int, (a, b)
    return a + b


@dsl.component(base_image="python:3.11")
def text(value: str = "nothing") -> str:
    return value


@dsl.component(base_image="python:3.11")
def fail(message: str) -> str:
    raise RuntimeError(message)


@dsl.component(base_image="python:3.11")
def total(values: List[int]) -> int:
    assert all(type(value) is int for value in values), values
    return sum(values)


@dsl.component(base_image="python:3.11")
def rows() -> List[Dict[str, int]]:
    return [{"n": 1}, {"n": 2}]


@dsl.component(base_image="python:3.11")
def write(content: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(content)
    data.metadata["length"] = len(content)


@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset]) -> str:
    return open(data.path).read()


@dsl.component(base_image="python:3.11")
def join(all_data: Input[List[Dataset]]) -> str:
    return "+".join(open(item.path).read() for item in all_data)


@dsl.component(base_image="python:3.11")
def several(names: List[str]) -> NamedTuple("Several", [("count", int), ("table", Dict[str, int])]):
    return (len(names), {"one": 1})


@dsl.component(base_image="python:3.11")
def optional(given: Optional[float] = None, data: Optional[Input[Dataset]] = None, word: str = "default") -> str:
    return f"{given} {data is None} {word}"


@dsl.component(base_image="python:3.11")
def final(status: dsl.PipelineTaskFinalStatus) -> str:
    return f"{status.state} {status.error_message or ''}"


@dsl.component(base_image="python:3.11")
def plain(message: str) -> str:
    return message


@dsl.container_component
def echo(message: str, file: dsl.OutputPath(str), more: Optional[str] = None):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'mkdir -p "$(dirname "$0")" && printf "%s" "$*" > "$0"'],
        args=[
            file,
            dsl.ConcatPlaceholder(["said: ", message]),
            dsl.IfPresentPlaceholder(input_name="more", then=["more:", more], else_=["no", "more"]),
        ],
    )


@dsl.pipeline(name="control", description="Conditions, loops, a container component, several outputs.")
def control(start: int = 1, word: str = "w", items: List[int] = [1, 2], limit: Optional[float] = None) -> int:
    first = add(a=start)
    first.set_cpu_limit("1").set_memory_limit("512M").set_retry(2, "1s", 2.0, "10s").set_display_name("first sum")
    with dsl.Condition(first.output > 2, name="large"):
        text(value=f"{word}: {first.output}").set_caching_options(False)
    with dsl.Condition(first.output == 0):
        text(value="never")
    with dsl.ParallelFor(items, parallelism=1) as item:
        add(a=item, b=10).set_env_variable("COLOUR", "blue")
    with dsl.ParallelFor(rows().output) as row:
        add(a=row.n, b=first.output)
    with dsl.ParallelFor([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]) as row:
        text(value=row.a)
        text(value=row.b)
    counted = several(names=["a", "b"])
    text(value=echo(message=word).outputs["file"])
    optional(given=limit).after(counted)
    return add(a=counted.outputs["count"], b=first.output).output


@dsl.pipeline
def inner(content: str, n: int = 5) -> NamedTuple("Inner", [("data", Dataset), ("n", int)]):
    out = NamedTuple("Inner", [("data", Dataset), ("n", int)])
    written = write(content=content)
    return out(written.outputs["data"], add(a=n).output)


@dsl.pipeline(name="nested")
def nested() -> str:
    """A pipeline in a pipeline, whose outputs are an artifact and a parameter."""
    made = inner(content="inside")
    text(value=f"{made.outputs['n']}")
    return read(data=made.outputs["data"]).output


@dsl.pipeline(name="handled")
def handled(broken: bool = True, message: str = "on purpose"):
    with dsl.ExitHandler(final(), name="guarded"):
        with dsl.Condition(broken == True):  # noqa: E712
            fail(message=message)
    with dsl.ExitHandler(plain(message="over")):
        text(value="fine")


@dsl.pipeline(name="imported")
def imported(uri: str, owner: str = "me") -> str:
    from_input = dsl.importer(
        artifact_uri=uri, artifact_class=Dataset, metadata={"owner": owner, "rows": 3, "tags": ["a", owner]}
    )
    return read(data=from_input.output).output


def collected():
    @dsl.pipeline(name="collected")
    def collected(numbers: List[int] = [1, 2, 3]) -> int:
        with dsl.ParallelFor(numbers) as number:
            sums = add(a=number, b=1)
            data = write(content="x")
        join(all_data=dsl.Collected(data.outputs["data"]))
        return total(values=dsl.Collected(sums.output)).output

    return collected


def branches():
    @dsl.pipeline(name="branches")
    def branches(coin: str = "heads") -> str:
        tossed = text(value=coin)
        with dsl.If(tossed.output == "heads"):
            a, data_a = text(value="a"), write(content="data a")
        with dsl.Elif(tossed.output == "tails"):
            b, data_b = text(value="b"), write(content="data b")
        with dsl.Else():
            c, data_c = text(value="c"), write(content="data c")
        read(data=dsl.OneOf(data_a.outputs["data"], data_b.outputs["data"], data_c.outputs["data"]))
        return text(value=dsl.OneOf(a.output, b.output, c.output)).output

    return branches


def ignoring():
    @dsl.pipeline(name="ignoring")
    def ignoring():
        text(value=fail(message="no luck").output).ignore_upstream_failure()

    return ignoring


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for pipeline in (control, nested, handled, imported):
        compiler.Compiler().compile(pipeline, str(folder / f"{pipeline.name}.yaml"))
    for make in (collected, branches, ignoring):
        try:
            pipeline = make()
        except AttributeError as error:
            print(kfp.__version__, make.__name__, error)
            continue
        compiler.Compiler().compile(pipeline, str(folder / f"{pipeline.name}.yaml"))


if __name__ == "__main__":
    main(Path(__file__).parent / f"kfp-{kfp.__version__}")
