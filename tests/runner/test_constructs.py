# ruff: noqa: B006, UP006, UP014, UP035, UP045  (KFP reads annotations, and knows typing's names only)
"""Constructs in combination: loops in branches in pipelines, and what comes out of them, compiled by the real SDK."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

import components_for_tests as c
import yaml
from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from pipelines.runner.events import TaskRetried

Run = Callable[..., Any]


@c.component
def types(value: dict, items: list, number: int, ratio: float = 1.0) -> str:
    return f"{value} {items} {number!r} {ratio!r}"


@c.component
def structs() -> list[dict]:
    return [{"a": {"b": 1, "c": [10, 20]}, "w": "x"}, {"a": {"b": 2, "c": [30]}, "w": "y"}]


@c.component
def show(value: dict) -> str:
    return repr(value)


def outputs_of(ran: Any, name: str) -> list[Any]:
    """The outputs of the tasks of this name, wherever they are, in the order of their paths."""
    found = {t.task: t.output_parameters for t in ran.result.tasks if t.task.rpartition("/")[2] == name}
    return [found[path]["Output"] for path in sorted(found) if "Output" in found[path]]


def test_integers_stay_integers_in_structs_lists_and_loops(run: Run) -> None:
    @dsl.pipeline(name="integers")
    def integers(table: dict = {"k": 1, "r": 0.5}, rows: list = [1, [2, 2.5]], n: int = 3):
        types(value=table, items=rows, number=n)
        types(value={"x": n, "y": [1, {"z": 2}]}, items=[n, 1.5, True], number=4, ratio=2.0)
        with dsl.ParallelFor([1, 2]) as number:
            types(value={"n": number}, items=[number], number=number)
        with dsl.ParallelFor(structs().output) as item:
            show(value=item.a)

    ran = run(integers)
    assert ran.outputs("types") == {"Output": "{'k': 1, 'r': 0.5} [1, [2, 2.5]] 3 1.0"}
    assert ran.outputs("types-2") == {"Output": "{'x': 3, 'y': [1, {'z': 2}]} [3, 1.5, True] 4 2.0"}
    assert outputs_of(ran, "types-3") == ["{'n': 1} [1] 1 1.0", "{'n': 2} [2] 2 1.0"]
    assert outputs_of(ran, "show") == ["{'b': 1, 'c': [10, 20]}", "{'b': 2, 'c': [30]}"]
    given = run(integers, table='{"k": 7}', rows="[8]")
    assert given.outputs("types") == {"Output": "{'k': 7} [8] 3 1.0"}


def test_loops_over_parts_of_items_and_over_items_that_are_lists(run: Run) -> None:
    @dsl.pipeline(name="parts")
    def parts():
        rows = dsl.ParallelFor([{"s": [1, 2]}, {"s": [3]}], parallelism=1)
        with rows as item, dsl.ParallelFor(item.s, parallelism=1) as number:
            sums = c.add(a=number, b=10)
        with dsl.ParallelFor([[1, 2], [3]]) as row, dsl.ParallelFor(row) as number:
            c.add(a=number, b=0)
        c.flatten(values=dsl.Collected(sums.output))

    ran = run(parts)
    assert ran.outputs("flatten") == {"Output": "[[11, 12], [13]]"}
    assert outputs_of(ran, "add-2") == [1, 2, 3]


def test_branches_in_loops_and_loops_in_branches_are_collected_and_chosen(run: Run) -> None:
    @dsl.pipeline(name="mixed")
    def mixed(go: str = "yes") -> list[int]:
        with dsl.ParallelFor([1, 2, 3]) as number:
            with dsl.If(number == 2):
                two, data_two = c.add(a=number, b=20), c.write(content="two")
            with dsl.Else():
                other, data_other = c.add(a=number, b=0), c.write(content="other")
            one = c.add(a=dsl.OneOf(two.output, other.output), b=100)
            picked = dsl.OneOf(data_two.outputs["data"], data_other.outputs["data"])
            c.read(data=picked)
        with dsl.If(go == "yes"):
            with dsl.ParallelFor([1, 2]) as number:
                inside = c.add(a=number, b=0)
            c.total(values=dsl.Collected(inside.output))
        return dsl.Collected(one.output)

    ran = run(mixed)
    assert ran.result.outputs == {"Output": [101, 122, 103]}
    assert outputs_of(ran, "read") == ["other/5", "two/3", "other/5"]
    assert outputs_of(ran, "total") == [3]
    assert "total" not in {
        t.task.rpartition("/")[2] for t in run(mixed, go="no").result.tasks if t.status == "succeeded"
    }


@dsl.pipeline
def choosing(coin: str, numbers: list[int] = [1, 2]) -> NamedTuple(  # type: ignore[valid-type]
    "Out", [("word", str), ("data", Dataset), ("sums", list[int]), ("all_data", list[Dataset])]
):
    with dsl.If(coin == "heads"):
        a, data_a = c.text(value="a"), c.write(content="a")
    with dsl.Else():
        b, data_b = c.text(value="b"), c.write(content="b")
    with dsl.ParallelFor(numbers) as number:
        sums = c.add(a=number)
        data = c.write(content="n")
    out = NamedTuple("Out", [("word", str), ("data", Dataset), ("sums", list[int]), ("all_data", list[Dataset])])
    return out(
        dsl.OneOf(a.output, b.output),
        dsl.OneOf(data_a.outputs["data"], data_b.outputs["data"]),
        dsl.Collected(sums.output),
        dsl.Collected(data.outputs["data"]),
    )


def test_nested_pipelines_hand_out_what_was_chosen_and_collected(run: Run) -> None:
    @dsl.pipeline
    def middle(coin: str) -> NamedTuple("Out", [("word", str), ("data", Dataset)]):  # type: ignore[valid-type]
        chosen = choosing(coin=coin)
        c.total(values=chosen.outputs["sums"])
        c.join(all_data=chosen.outputs["all_data"])
        out = NamedTuple("Out", [("word", str), ("data", Dataset)])
        return out(chosen.outputs["word"], chosen.outputs["data"])

    @dsl.pipeline(name="outer")
    def outer() -> str:
        with dsl.ParallelFor(["heads", "tails"]) as coin:
            made = middle(coin=coin)
            c.read(data=made.outputs["data"])
        c.join(all_data=dsl.Collected(made.outputs["data"]))
        return c.text(value=middle(coin="tails").outputs["word"]).output

    ran = run(outer)
    assert ran.result.outputs == {"Output": "b"}
    assert outputs_of(ran, "read") == ["a/1", "b/1"]
    assert outputs_of(ran, "total") == [7, 7, 7]
    assert outputs_of(ran, "join") == ["n+n", "n+n", "a+b", "n+n"]


def test_artifacts_of_nested_loops_are_collected_in_their_order(run: Run) -> None:
    @dsl.pipeline(name="deep")
    def deep():
        with dsl.ParallelFor(["a", "b"]) as _, dsl.ParallelFor(["c", "d"]) as inner:
            data = c.write(content=inner)
        c.join(all_data=dsl.Collected(data.outputs["data"]))

    assert run(deep).outputs("join") == {"Output": "c+d+c+d"}


def test_exit_handlers_stand_side_by_side_in_nested_pipelines_and_may_be_pipelines(run: Run) -> None:
    @c.component
    def tell(status: dsl.PipelineTaskFinalStatus, word: str = "") -> str:
        return f"{status.state} {status.pipeline_task_name} {word}"

    @dsl.pipeline
    def guarded(broken: str):
        with dsl.ExitHandler(tell(word="inner")), dsl.If(broken == "yes"):
            c.fail()

    @dsl.pipeline
    def farewell(word: str):
        c.text(value=c.text(value=word).output)

    @dsl.pipeline(name="several")
    def several(broken: str = "yes"):
        with dsl.ExitHandler(tell(word="first"), name="first"):
            guarded(broken=broken)
        with dsl.ExitHandler(tell(word="second")):
            c.add(a=1)
        with dsl.ExitHandler(farewell(word="bye")):
            c.add(a=2)

    ran = run(several)
    assert ran.result.status == "failed"
    assert outputs_of(ran, "text-2") == ["bye"]
    said = {t.output_parameters["Output"] for t in ran.result.tasks if t.component == "tell"}
    assert said == {"FAILED exit-handler-1 first", "FAILED exit-handler-1 inner", "COMPLETE exit-handler-2 second"}
    assert run(several, broken="no").result.status == "succeeded"


def test_a_task_learns_the_state_of_the_one_before_it_in_the_backends_words(run: Run) -> None:
    @c.component
    def tell(status: dsl.PipelineTaskFinalStatus) -> str:
        return f"{status.state} {status.pipeline_task_name}"

    @dsl.pipeline(name="stated")
    def stated():
        tell().after(c.text(value="a")).ignore_upstream_failure()
        tell().after(c.fail()).ignore_upstream_failure()

    first, second = run(stated), run(stated)
    assert outputs_of(first, "tell") + outputs_of(first, "tell-2") == ["COMPLETE text", "FAILED fail"]
    assert outputs_of(second, "tell") + outputs_of(second, "tell-2") == ["CACHED text", "FAILED fail"]


def test_a_condition_may_be_the_whole_command_of_a_container(run: Run) -> None:
    @dsl.container_component
    def chosen(out: dsl.OutputPath(str), word: Optional[str] = None):
        shell = dsl.IfPresentPlaceholder("word", then=["sh", "-c"], else_=["no-such-program-here", "-c"])
        given = dsl.IfPresentPlaceholder("word", then=["--word", word])
        return dsl.ContainerSpec(image="alpine", command=[shell, f'printf "%s " "$@" > {out}', "zero", given])

    @dsl.container_component
    def perhaps(word: Optional[str] = None):
        return dsl.ContainerSpec(image="alpine", command=[dsl.IfPresentPlaceholder("word", then=word)])

    @dsl.pipeline(name="choosing-a-program")
    def choosing(word: Optional[str] = None):
        chosen(word=word)

    @dsl.pipeline(name="perhaps-a-program")
    def nothing():
        perhaps()

    assert run(choosing, word="it is").outputs("chosen") == {"out": "--word it is "}
    assert "'no-such-program-here' is not on this machine" in run(choosing).ended("chosen").error
    assert run(nothing).ended("perhaps").error == "its command is empty: with these inputs nothing is left of it"


def test_a_list_of_artifacts_in_a_command_is_left_as_it_is_written_as_on_a_cluster(run: Run) -> None:
    @dsl.container_component
    def listed(data: Input[List[Dataset]], out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'printf "%s" "$0" > "$1"', data, out])

    @dsl.pipeline(name="listing")
    def listing():
        with dsl.ParallelFor(["a", "b"]) as item:
            made = c.write(content=item)
        listed(data=dsl.Collected(made.outputs["data"]))

    ran = run(listing)
    assert ran.outputs("listed") == {"out": "{{$.inputs.artifacts['data']}}"}
    assert any("{{$.inputs.artifacts['data']}}" in said and "passed on as written" in said for said in ran.warnings())


def test_ignored_failures_reach_components_as_missing_optional_inputs(run: Run) -> None:
    @c.component
    def broken(data: Output[Dataset]) -> float:
        raise ValueError("no luck")

    @dsl.pipeline
    def inner(given: Optional[float] = None):
        c.optional(given=given)

    @dsl.pipeline(name="ignored")
    def ignored():
        failed = broken()
        given = {"given": failed.outputs["Output"], "data": failed.outputs["data"], "word": "default"}
        c.optional(**given).ignore_upstream_failure()
        inner(given=failed.outputs["Output"]).ignore_upstream_failure()
        c.text(value="never").after(failed)

    ran = run(ignored)
    assert ran.outputs("optional") == {"Output": "None True default"}
    assert ran.outputs("inner/optional") == {"Output": "None True default"}
    assert ran.statuses()["text"] == "skipped"


def test_optional_inputs_pass_through_pipelines_as_not_given(run: Run) -> None:
    @c.component
    def defaults(flag: bool = False, items: list = [], table: dict = {}, n: int = 0, word: str = "") -> str:
        return f"{flag} {items} {table} {n} {word!r}"

    @dsl.pipeline
    def inner(
        given: Optional[float] = None,
        data: Optional[Input[Dataset]] = None,
        flag: bool = False,
        n: Optional[int] = 5,
    ):
        c.optional(given=given, data=data)
        defaults(flag=flag, n=n)

    @dsl.pipeline(name="optionals")
    def optionals(given: Optional[float] = None, items: list = []):
        inner(given=given)
        inner(given=0.0, data=c.write(content="x").outputs["data"], flag=True, n=0)
        defaults(items=items)

    ran = run(optionals)
    assert ran.outputs("inner/optional") == {"Output": "None True default"}
    assert ran.outputs("inner-2/optional") == {"Output": "0.0 False default"}
    assert ran.outputs("inner/defaults") == {"Output": "False [] {} 5 ''"}
    assert ran.outputs("inner-2/defaults") == {"Output": "True [] {} 0 ''"}
    assert ran.outputs("defaults") == {"Output": "False [] {} 0 ''"}


def test_tasks_wait_for_the_groups_and_pipelines_that_they_come_after(run: Run, compiled: Callable[..., Path]) -> None:
    @dsl.pipeline
    def inner():
        c.text(value="in")

    @dsl.pipeline(name="ordered")
    def ordered():
        with dsl.ParallelFor([1, 2]) as number:
            c.add(a=number)
        c.text(value="last").after(inner())

    path = compiled(ordered)
    spec = yaml.safe_load(path.read_text())
    # The SDK writes no dependency on a whole loop; YAML from elsewhere may hold it.
    spec["root"]["dag"]["tasks"]["text"]["dependentTasks"].append("for-loop-2")
    path.write_text(yaml.safe_dump(spec))
    order = run(path).order()
    last = order.index(("started", "text"))
    for before in ("inner/text", "for-loop-2/[0]/add", "for-loop-2/[1]/add"):
        assert order.index(("succeeded", before)) < last


def test_every_placeholder_of_the_job_and_task_has_a_text(run: Run) -> None:
    @dsl.container_component
    def told(
        file: dsl.OutputPath(str), task: str = dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
    ):  # fmt: skip
        return dsl.ContainerSpec(
            image="anything",
            command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf "%s|" "$@" > "$0"'],
            args=[
                file, dsl.PIPELINE_JOB_ID_PLACEHOLDER, dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER, dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
                dsl.PIPELINE_TASK_ID_PLACEHOLDER, dsl.PIPELINE_ROOT_PLACEHOLDER,
                dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER, dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
            ],
        )  # fmt: skip

    @dsl.pipeline
    def inner():
        told()

    @dsl.pipeline(name="telling")
    def telling():
        told()
        inner()
        c.text(value=f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}/{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}")
        c.text(value=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)

    ran = run(telling)
    run_id, created = ran.result.run_id, ran.outputs("text-2")["Output"]
    assert len(created) == len("2025-01-01T00:00:00Z")
    assert created.endswith("Z")
    root = str(ran.result.folder / "artifacts")
    for path in ("told", "inner/told"):
        told_it = ran.outputs(path)["file"].split("|")
        assert told_it == [run_id, run_id, run_id, "told", f"{run_id}/{path}", root, created, created, ""]
    assert ran.outputs("text") == {"Output": f"{run_id}/text"}


def test_concat_and_if_present_nest_in_a_command(run: Run) -> None:
    @dsl.container_component
    def words(
        file: dsl.OutputPath(str), needed: str, data: Input[Dataset], number: int = 3, flag: bool = True,
        more: Optional[str] = None, extra: Optional[Input[Dataset]] = None,
    ):  # fmt: skip
        return dsl.ContainerSpec(
            image="anything",
            command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf "%s|" "$@" > "$0"'],
            args=[
                file,
                dsl.ConcatPlaceholder(["--n=", number, ",", dsl.IfPresentPlaceholder("more", then=more, else_="none")]),
                dsl.IfPresentPlaceholder(
                    input_name="more", then=["--more", dsl.ConcatPlaceholder([more, "!", needed])], else_=["--less"]
                ),
                dsl.IfPresentPlaceholder(input_name="extra", then=["--extra", extra.path]),
                "--flag", flag, data.metadata["length"], dsl.ConcatPlaceholder([data.uri, ".x"]),
            ],
        )  # fmt: skip

    @dsl.pipeline(name="commands")
    def commands():
        data = c.write(content="abc").outputs["data"]
        words(needed="n", data=data)
        words(needed="n", data=data, more="m", number=4, flag=False, extra=data)

    ran = run(commands)
    place = ran.result.folder / "artifacts" / "write" / "data"
    assert ran.outputs("words")["file"].split("|") == [
        "--n=3,none", "--less", "--flag", "true", "3", f"{place}.x", "",
    ]  # fmt: skip
    assert ran.outputs("words-2")["file"].split("|") == [
        "--n=4,m", "--more", "m!n", "--extra", str(place), "--flag", "false", "3", f"{place}.x", "",
    ]  # fmt: skip


def test_artifacts_that_are_returned_or_written_elsewhere_outlive_the_run(run: Run) -> None:
    @c.component
    def made(custom: Output[Dataset], pathed: dsl.OutputPath("Dataset")) -> NamedTuple(  # type: ignore[valid-type]
        "Out", [("one", Dataset), ("two", Artifact)]
    ):
        import pathlib
        import tempfile

        custom.custom_path = tempfile.mkdtemp() + "/file.txt"
        pathlib.Path(custom.custom_path).write_text("custom")
        pathlib.Path(pathed).write_text("pathed")
        one = dsl.Dataset(uri=dsl.get_uri(suffix="one"), metadata={"rows": 1})
        pathlib.Path(one.path).write_text("one")
        two = dsl.Artifact(uri=dsl.get_uri(suffix="two"))
        (pathlib.Path(two.path) / "deep").mkdir(parents=True)
        (pathlib.Path(two.path) / "deep" / "f").write_text("two")
        return (one, two)

    @c.component
    def reading(
        custom: Input[Dataset], pathed: dsl.InputPath("Dataset"), one: Input[Dataset], two: Input[Artifact]
    ) -> str:
        import pathlib

        texts = [pathlib.Path(place).read_text() for place in (custom.path, pathed, one.path, two.path + "/deep/f")]
        return f"{texts} {one.metadata}"

    @dsl.pipeline(name="elsewhere")
    def elsewhere():
        task = made()
        reading(**{name: task.outputs[name] for name in ("custom", "pathed", "one", "two")})

    for ran in (run(elsewhere), run(elsewhere)):
        assert ran.outputs("reading") == {"Output": "['custom', 'pathed', 'one', 'two'] {'rows': 1}"}
        task = next(task for task in ran.result.tasks if task.task == "made")
        assert all(Path(items[0]["uri"]).exists() for items in task.output_artifacts.values())
    assert ran.cached() == {"made", "reading"}


def test_embedded_files_come_with_the_component(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_text("embedded")

    @dsl.component(base_image="python:3.11", embedded_artifact_path=str(tmp_path / "config.txt"))
    def configured(config: dsl.EmbeddedInput[Dataset]) -> str:
        return open(config.path).read()  # noqa: PTH123

    @dsl.pipeline(name="embedding")
    def embedding():
        configured()

    assert run(embedding).outputs("configured") == {"Output": "embedded"}


def test_a_command_is_retried_after_its_backoff(run: Run, tmp_path: Path) -> None:
    @dsl.container_component
    def third_time(count: str):
        return dsl.ContainerSpec(
            image="anything", command=["sh", "-c", 'echo x >> "$0"; test $(wc -l < "$0") -ge 3'], args=[count]
        )

    @dsl.pipeline(name="retried")
    def retried(count: str):
        third_time(count=count).set_retry(3, backoff_duration="1s", backoff_factor=2.0, backoff_max_duration="1s")

    ran = run(retried, count=str(tmp_path / "count"))
    assert ran.result.status == "succeeded"
    assert ran.result.tasks[0].attempt == 3
    assert [event.wait_seconds for event in ran.events if isinstance(event, TaskRetried)] == [1.0, 1.0]


def test_resources_may_come_from_parameters_and_tasks(run: Run) -> None:
    @dsl.pipeline(name="sized")
    def sized(cpu: str = "3"):
        task = c.environment()
        task.set_cpu_limit(cpu).set_memory_limit(c.text(value="128M").output)
        task.set_env_variable("COLOUR", "red")

    assert run(sized).outputs("environment")["Output"].startswith("3 ")


def test_a_loop_over_artifacts_hands_each_on(run: Run) -> None:
    @dsl.pipeline
    def read_each(all_data: list[Dataset]) -> list[Dataset]:
        with dsl.ParallelFor(all_data, parallelism=1) as data:
            again = c.write(content=c.read(data=data).output)
        return dsl.Collected(again.outputs["data"])

    @dsl.pipeline(name="artifact-loop")
    def artifact_loop():
        with dsl.ParallelFor(c.items(count=2).output) as item:
            data = c.write(content=item.word)
        c.join(all_data=read_each(all_data=dsl.Collected(data.outputs["data"])).output)

    assert run(artifact_loop).outputs("join") == {"Output": "item 0/6+item 1/6"}
