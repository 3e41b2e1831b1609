"""Every construct of the pipeline language, compiled by the real SDK and run for real."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional

import components_for_tests as c
import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset

from pipelines.runner import run as run_module

Run = Callable[..., "object"]


def test_values_pass_between_tasks_with_their_types(run: Run) -> None:
    @dsl.pipeline(name="values")
    def values(start: int = 1, name: str = 'it\'s "quoted"') -> int:
        first = c.add(a=start)
        c.text(value=f"{name}: {first.output} of {dsl.PIPELINE_TASK_NAME_PLACEHOLDER}")
        c.several(flag=True, ratio=1.0, names=["a", "b"], table={"k": 1})
        return c.add(a=first.output, b=10).output

    ran = run(values, start="5")
    assert ran.result.status == "succeeded"
    assert ran.result.outputs == {"Output": 17}
    assert ran.outputs("text") == {"Output": 'it\'s "quoted": 7 of text'}
    assert ran.outputs("several") == {
        "file": "True float ['a', 'b'] {'k': 1}", "number": 2, "struct": {"k": 1}, "yes": False,
    }  # fmt: skip


def test_artifacts_pass_between_tasks_with_bytes_and_metadata(run: Run) -> None:
    @dsl.pipeline(name="artifacts")
    def artifacts() -> Dataset:
        data = c.write(content="hello").outputs["data"]
        c.read(data=data)
        return data

    ran = run(artifacts)
    assert ran.outputs("read") == {"Output": "hello/5"}
    assert (Path(ran.result.outputs["Output"]) / "deep" / "content.txt").read_text() == "hello"


@pytest.mark.parametrize(("coin", "number", "branch"), [("heads", 0, "a"), ("tails", 4, "b"), ("tails", 3, "c")])
def test_if_elif_else_takes_one_branch_and_one_of_is_its_output(run: Run, coin: str, number: int, branch: str) -> None:
    @dsl.pipeline(name="branches")
    def branches(coin: str, number: int) -> str:
        tossed = c.text(value=coin)
        with dsl.If(tossed.output == "heads"):
            a, data_a = c.text(value="a"), c.write(content="a")
        with dsl.Elif(number > 3):
            b, data_b = c.text(value="b"), c.write(content="b")
        with dsl.Else():
            z, data_z = c.text(value="c"), c.write(content="c")
        c.read(data=dsl.OneOf(data_a.outputs["data"], data_b.outputs["data"], data_z.outputs["data"]))
        return c.text(value=dsl.OneOf(a.output, b.output, z.output)).output

    ran = run(branches, coin=coin, number=number)
    assert ran.result.outputs == {"Output": branch}
    assert ran.outputs("read") == {"Output": f"{branch}/1"}
    assert sorted(ran.statuses().values()) == ["skipped", "skipped", *["succeeded"] * 5]


def test_what_depends_on_a_skipped_task_is_skipped(run: Run, compiled: Callable[..., Path]) -> None:
    @dsl.pipeline(name="skipping")
    def skipping(go: bool = False):
        with dsl.If(go == True):  # noqa: E712  (KFP's condition, not Python's)
            c.add(a=1)
        c.add(a=2)
        c.add(a=3)

    path = compiled(skipping)
    spec = yaml.safe_load(path.read_text())
    # The SDK refuses to write this dependency; YAML from elsewhere may hold it.
    spec["root"]["dag"]["tasks"]["add-2"]["dependentTasks"] = ["condition-1"]
    path.write_text(yaml.safe_dump(spec))
    ran = run(path)
    assert ran.result.status == "succeeded"
    assert ran.statuses() == {"condition-1": "skipped", "add-2": "skipped", "add-3": "succeeded"}


def test_loops_over_constants_parameters_and_outputs_nest_and_are_collected(run: Run) -> None:
    @dsl.pipeline(name="loops")
    def loops(outer: list[int] = [1, 2]) -> int:  # noqa: B006
        with dsl.ParallelFor(c.items(count=2).output) as item:
            one = c.add(a=item.n, b=100)
            data = c.write(content=item.word)
        with dsl.ParallelFor(outer) as a, dsl.ParallelFor([10, 20]) as b:
            two = c.add(a=a, b=b)
        c.flatten(values=dsl.Collected(two.output))
        c.join(all_data=dsl.Collected(data.outputs["data"]))
        return c.total(values=dsl.Collected(one.output)).output

    ran = run(loops)
    assert ran.result.outputs == {"Output": 201}
    assert ran.outputs("flatten") == {"Output": "[[11, 21], [12, 22]]"}
    assert ran.outputs("join") == {"Output": "item 0+item 1"}
    iterations = {task.task: task.iteration for task in ran.result.tasks if task.task.endswith("/add")}
    assert [iterations[task] for task in sorted(iterations)] == [
        {"n": 0, "word": "item 0"}, {"n": 1, "word": "item 1"},
    ]  # fmt: skip


def test_a_loop_without_items_succeeds_and_collects_nothing(run: Run) -> None:
    @dsl.pipeline(name="empty")
    def empty() -> int:
        with dsl.ParallelFor(c.items(count=0).output) as item:
            one = c.add(a=item.n)
        return c.total(values=dsl.Collected(one.output)).output

    assert run(empty).result.outputs == {"Output": 0}


def test_iterations_that_were_skipped_are_left_out_of_what_is_collected(run: Run) -> None:
    @dsl.pipeline(name="holes")
    def holes() -> int:
        with dsl.ParallelFor([1, 2, 3]) as item, dsl.If(item > 1):
            one = c.add(a=item, b=0)
        return c.total(values=dsl.Collected(one.output)).output

    assert run(holes).result.outputs == {"Output": 5}


def test_a_loops_limit_bounds_what_runs_at_once(run: Run) -> None:
    @dsl.pipeline(name="limited")
    def limited():
        with dsl.ParallelFor([1, 2, 3], parallelism=1) as item:
            c.add(a=item).set_cpu_request("0.1")

    order = [what for what, _ in run(limited).order()]
    assert order == ["started", "succeeded"] * 3


def test_a_loop_over_a_list_of_artifacts(run: Run) -> None:
    @dsl.pipeline
    def read_each(all_data: list[Dataset]):
        with dsl.ParallelFor(all_data) as data:
            c.read(data=data)

    @dsl.pipeline(name="artifact-loop")
    def artifact_loop():
        with dsl.ParallelFor(["x", "yy"]) as word:
            data = c.write(content=word)
        read_each(all_data=dsl.Collected(data.outputs["data"]))

    ran = run(artifact_loop)
    read = [task.output_parameters["Output"] for task in ran.result.tasks if task.task.endswith("/read")]
    assert sorted(read) == ["x/1", "yy/2"]


def test_nested_pipelines_have_defaults_inputs_and_outputs(run: Run) -> None:
    @dsl.pipeline
    def inner(x: int = 40, word: str = "w") -> NamedTuple("Out", [("n", int), ("data", Dataset)]):  # type: ignore[valid-type]
        import collections

        out = collections.namedtuple("Out", ["n", "data"])
        return out(c.add(a=x).output, c.write(content=word).outputs["data"])

    @dsl.pipeline(name="outer")
    def outer() -> int:
        first, second = inner(), inner(x=1, word="other")
        c.read(data=second.outputs["data"])
        return c.add(a=first.outputs["n"], b=second.outputs["n"]).output

    ran = run(outer)
    assert ran.result.outputs == {"Output": 45}
    assert ran.outputs("read") == {"Output": "other/5"}


def test_optional_inputs_that_are_not_given_get_the_functions_default(run: Run) -> None:
    @dsl.pipeline(name="optionals")
    def optionals(limit: Optional[float] = None, again: Optional[float] = None):  # noqa: UP045
        with dsl.ParallelFor([1]):
            c.optional(given=limit)
        c.optional(given=again, word="given")

    ran = run(optionals, limit="", again="2")
    assert ran.outputs("for-loop-2/[0]/optional") == {"Output": "None True default"}
    assert ran.outputs("optional-2") == {"Output": "2.0 True given"}


def test_exit_handler_runs_after_success_and_after_failure_with_the_status(run: Run) -> None:
    @dsl.pipeline(name="handled")
    def handled(broken: bool):
        handler = c.final(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        with dsl.ExitHandler(handler), dsl.If(broken == True):  # noqa: E712
            c.text(value=c.fail(message="on purpose").output)

    good, bad = run(handled, broken="false"), run(handled, broken="true")
    assert good.result.status == "succeeded"
    assert good.result.summary["outputs"] == {"state": "COMPLETE", "task": "exit-handler-1", "said": ""}
    assert good.result.summary["title"] == good.result.run_id
    assert bad.result.status == "failed"
    assert bad.result.summary["outputs"]["state"] == "FAILED"
    assert "on purpose" in bad.result.summary["outputs"]["said"]
    assert bad.statuses()["exit-handler-1/condition-2/text"] == "skipped"


def test_a_task_that_ignores_upstream_failure_runs_with_its_default(run: Run) -> None:
    @dsl.pipeline(name="ignoring")
    def ignoring():
        c.text(value=c.fail().output).ignore_upstream_failure()

    ran = run(ignoring)
    assert ran.outputs("text") == {"Output": "nothing"}
    assert ran.result.status == "failed"


def test_independent_tasks_run_at_once(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "meeting"
    place.mkdir()

    @dsl.pipeline(name="meeting")
    def meeting(folder: str):
        c.meet(folder=folder, name="a", other="b").set_cpu_request("0.5")
        c.meet(folder=folder, name="b", other="a").set_cpu_request("0.5")

    assert run(meeting, folder=str(place)).result.status == "succeeded"


@pytest.mark.parametrize(("memory", "most"), [(2.0**40, 4), (1.6 * 2**30, 3)])
def test_tasks_that_request_nothing_overlap_up_to_four_a_core_and_512_mib_each(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: float, most: int
) -> None:
    monkeypatch.setattr(run_module, "machine_cores", lambda: 1)
    monkeypatch.setattr(run_module, "machine_memory", lambda: memory)
    for name in ("here", "seen"):
        (tmp_path / name).mkdir()

    @dsl.pipeline(name="crowd")
    def crowd(folder: str, count: int):
        with dsl.ParallelFor(list(range(9))) as _:
            c.gather(folder=folder, count=count).set_caching_options(False)

    ran = run(crowd, folder=str(tmp_path), count=most)
    assert ran.result.status == "succeeded", ran.result.error
    assert max(t.output_parameters["Output"] for t in ran.result.tasks if t.task.endswith("/gather")) == most


def test_tasks_that_ask_for_all_cores_run_one_after_the_other(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="greedy")
    def greedy(lock: str):
        for _ in range(3):
            c.alone(lock=lock).set_cpu_request("1000")

    assert run(greedy, lock=str(tmp_path / "lock")).result.status == "succeeded"


def test_environment_threads_and_task_names_reach_the_child(run: Run) -> None:
    @dsl.pipeline(name="surroundings")
    def surroundings():
        task = c.environment()
        task.set_cpu_request("2500m")
        task.set_env_variable("COLOUR", "blue")

    ran = run(surroundings)
    assert ran.outputs("environment") == {"Output": f"3 {ran.result.run_id} environment blue"}


@dsl.container_component
def echo(message: str, file: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="anything",
        command=["sh", "-c", 'mkdir -p "$(dirname "$1")" && printf "%s" "$0" > "$1"'],
        args=[dsl.ConcatPlaceholder(["said: ", message]), file],
    )


def test_a_command_whose_program_is_here_runs_here(run: Run) -> None:
    @dsl.pipeline(name="shell")
    def shell(message: str = "; rm -rf '$HOME' `x`"):
        c.text(value=echo(message=message).outputs["file"])

    ran = run(shell)
    assert ran.outputs("text") == {"Output": "said: ; rm -rf '$HOME' `x`"}


def test_everything_a_task_prints_is_in_its_log(run: Run) -> None:
    @dsl.pipeline(name="noise")
    def noise():
        c.shout()

    log = Path(run(noise).result.tasks[0].log).read_text()
    for line in ("from python", "to stderr", "from a file descriptor", "from a subprocess"):
        assert line in log


def test_a_component_in_an_image_is_found_through_kfp_config(
    run: Run, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    file = tmp_path / "stage.py"
    file.write_text(
        "from kfp import dsl\n"
        "@dsl.component(base_image='python:3.11', target_image='x/y:1')\n"
        "def greet(name: str, times: int = 2) -> str:\n"
        "    return name * times\n"
    )
    (tmp_path / "kfp_config.ini").write_text("[Components]\ngreet = stage.py\n")
    spec = importlib.util.spec_from_file_location("stage_for_a_test", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @dsl.pipeline(name="configured")
    def configured() -> str:
        return module.greet(name="ab").output

    assert run(compiled(configured)).result.outputs == {"Output": "abab"}


def test_the_journal_in_the_store_tells_what_happened(run: Run, tmp_path: Path) -> None:
    from components.core.store import open_store

    @dsl.pipeline(name="told")
    def told():
        with dsl.ParallelFor([{"n": 1}]) as item:
            added = c.add(a=item.n)
        c.total(values=dsl.Collected(added.output))

    ran = run(told)
    records = {item["task"]: item for item in open_store(str(tmp_path / "home/store")).journal.read(ran.result.run_id)}
    assert set(records) == {"for-loop-2/[0]/add", "total"}
    first, last = records["for-loop-2/[0]/add"], records["total"]
    assert first["iteration"] == {"n": 1}
    assert first["parameters"] == {"a": 1, "b": 2}
    assert first["output_parameters"] == {"Output": 3}
    assert last["depends_on"] == ["for-loop-2/[0]/add"]
    assert last["status"] == "succeeded"
    assert last["started"] >= first["ended"]


def test_dictionaries_with_placeholders_inside(run: Run) -> None:
    @c.component
    def show(table: dict[str, str], numbers: list[int]) -> str:
        return f"{table} {numbers}"

    @dsl.pipeline(name="inside")
    def inside(word: str = "w"):
        number = c.add(a=1)
        show(table={"k": f"-{word}-"}, numbers=[number.output, 7])

    assert run(inside).outputs("show") == {"Output": "{'k': '-w-'} [3, 7]"}


def test_pages_get_the_ending_that_a_browser_knows(run: Run) -> None:
    @c.component
    def page(html: dsl.Output[dsl.HTML], notes: dsl.Output[dsl.Markdown]):
        import pathlib

        pathlib.Path(html.path).write_text("<p>")
        pathlib.Path(notes.path).write_text("#")

    @dsl.pipeline(name="pages")
    def pages():
        page()

    for ran in (run(pages), run(pages)):
        (task,) = ran.result.tasks
        for name, ending in (("html", ".html"), ("notes", ".md")):
            path = Path(task.output_artifacts[name][0]["uri"])
            assert path.suffix == ending
            assert path.is_file()
