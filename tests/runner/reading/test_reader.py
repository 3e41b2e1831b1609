"""The reader against files that the SDK writes, against files that nobody should, and against KFP's own schema."""

import copy
import datetime
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl, kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2

from components.core.errors import UserError
from pipelines.runner.code.programs import programs
from pipelines.runner.reading import executors, jobs, platform_config, reader
from pipelines.runner.reading.executors import classify
from pipelines.runner.reading.reader import pipeline_from, read_pipeline


@dsl.component(base_image="python:3.11", target_image="x/y:1")
def check(a: int, limit: float = 0.5) -> list:
    """In an image."""


@dsl.component(base_image="python:3.11")
def train(x: float, model: dsl.Output[dsl.Model]) -> str:
    return str(x)


@dsl.pipeline(name="small", description="For the reader.")
def small(a: int = 1, name: str = "n"):
    checked = check(a=a)
    with dsl.ParallelFor(checked.output, parallelism=2) as item:
        train(x=item).set_cpu_request("2").set_memory_limit("1G").set_retry(2, "1s", 3.0, "9s")
    with dsl.If(a > 1):
        train(x=1.0)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from kfp import compiler

    path = tmp_path_factory.mktemp("reader") / "small.yaml"
    compiler.Compiler().compile(small, str(path))
    return yaml.safe_load(path.read_text())


def read(spec: Any) -> Any:
    return pipeline_from([spec], "", "f.yaml")


def refused(spec: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(spec)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_the_compiler_wrote_is_understood(spec: dict[str, Any]) -> None:
    pipeline = read(copy.deepcopy(spec))
    assert pipeline.name == "small"
    loop = pipeline.root.dag.tasks["for-loop-1"]
    assert loop.iterator.limit == 2
    assert loop.dependencies == ("check",)
    task = pipeline.components["comp-for-loop-1"].dag.tasks["train"]
    assert (task.retry.count, task.retry.wait(1), task.retry.wait(2), task.retry.wait(9)) == (2, 1.0, 3.0, 9.0)
    container = pipeline.components["comp-train"].container
    assert (container.resources.cpu, container.resources.memory) == ("2", "1G")
    default = pipeline.root.input_parameters["a"].default
    assert (default, type(default)) == (1, int)


def change(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(spec)
    *parents, last = path.split("/")
    node = changed
    for name in parents:
        node = node[name]
    node[last] = value
    return changed


TRAIN = "deploymentSpec/executors/exec-train"
LOOP = "root/dag/tasks/for-loop-1"
TEXT_INPUT = "components/comp-condition-2/dag/tasks/train-2/inputs/parameters/x"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("pipelineInfo/name", "", "no name"),
        ("schemaVersion", "3.0.0", "3.0.0"),
        ("unheardOf", 1, "unheardOf"),
        ("root/dag/tasks/check/unheardOf", {}, "unheardOf"),
        ("root/dag/tasks/check/componentRef/name", "comp-no", "comp-no"),
        ("root/dag/tasks/check/dependentTasks", ["nobody"], "nobody"),
        ("root/dag/tasks/check/dependentTasks", ["for-loop-1"], "circle"),
        ("root/dag/tasks/check/dependentTasks", "x", "list"),
        (
            f"{LOOP}/inputs/parameters/pipelinechannel--check-Output/taskOutputParameter/outputParameterKey",
            "no",
            "'no'",
        ),
        (f"{LOOP}/parameterIterator/items/inputParameter", "gone", "gone"),
        ("root/dag/tasks/condition-2/triggerPolicy/condition", "1 ==", "condition"),
        ("root/dag/tasks/condition-2/triggerPolicy/strategy", "WHENEVER", "WHENEVER"),
        ("root/dag/tasks/../../../../etc", {"componentRef": {"name": "comp-check"}}, None),
        ("root/inputDefinitions/parameters/a/parameterType", "NUMBER_COMPLEX", "NUMBER_COMPLEX"),
        ("root/inputDefinitions/parameters/a/defaultValue", "one", "an integer"),
        (TRAIN, {"importer": {"artifactUri": {"constant": "s3://b/k"}, "unheardOf": 1}}, "unheardOf"),
        (TRAIN, {"importer": {"metadata": {"k": "{{$.workspace_path}}"}}}, "workspace_path"),
        (TRAIN, {"resolver": {"outputArtifactQueries": {}, "x": 1}}, "resolver"),
        (f"{TRAIN}/container/lifecycle", {"preCacheCheck": {"command": ["x"]}}, "life cycle"),
        (f"{TRAIN}/container/args", ["{{$.workspace_path}}"], "workspace_path"),
        ("components/comp-train/executorLabel", "exec-no", "exec-no"),
        ("components/comp-train/executorLabel", "", "executorLabel"),
        ("components/comp-train/singlePlatformSpecs", [{"platform": "kubernetes"}], "singlePlatformSpecs"),
        ("root/dag/tasks/condition-2/retryPolicy", {"maxRetryCount": 1}, "retries"),
        ("root/dag/tasks", {}, "no tasks"),
        # What YAML can hold and JSON cannot, and texts that only look like numbers.
        ("root/inputDefinitions/parameters/name/defaultValue", datetime.date(2024, 1, 1), "a date (2024-01-01)"),
        ("root/inputDefinitions/parameters/name/defaultValue", {"a", "b"}, "a set"),
        ("root/inputDefinitions/parameters/a/literals", 3, "literals must be a list"),
        ("components/comp-train/outputDefinitions/artifacts/model/metadata", "m", "metadata must be a mapping"),
        ("components/comp-train/outputDefinitions/artifacts/model/metadata", {"k": b"x"}, "a bytes"),
        (TEXT_INPUT, {"runtimeValue": {"constant": datetime.date(2024, 1, 1)}}, "a date"),
        (TEXT_INPUT, {"runtimeValue": {"constantValue": {"intValue": "one"}}}, "intValue must be a number"),
        ("root/dag/tasks/condition-2/retryPolicy", {"maxRetryCount": "²"}, "maxRetryCount must be a number"),
        ("root/dag/tasks/condition-2/retryPolicy", {"backoffDuration": "9" * 400 + "s"}, "must be a duration"),
        (f"{TRAIN}/container/resources", {"cpuRequest": "many"}, "not a CPU quantity"),
        (f"{TRAIN}/container/resources", {"resourceMemoryLimit": "1 barrel"}, "not a quantity of bytes"),
        ("components", 5, "mapping"),
    ],
)
def test_what_is_not_supported_or_not_right_is_refused_by_name(
    spec: dict[str, Any], path: str, value: Any, said: str | None
) -> None:
    if said is None:
        changed = copy.deepcopy(spec)
        changed["root"]["dag"]["tasks"]["../../x"] = {"componentRef": {"name": "comp-check"}}
        assert "../../x" in refused(changed)
    else:
        assert said in refused(change(spec, path, value))


@pytest.mark.parametrize("document", [None, [], "text", {"apiVersion": "v1", "kind": "Pod"}, {"a": 1}])
def test_what_is_no_pipeline_is_refused(document: Any) -> None:
    with pytest.raises(UserError, match="not a compiled"):
        pipeline_from([] if document is None else [document], "", "f.yaml")


def test_a_pipeline_inside_itself_is_refused(spec: dict[str, Any]) -> None:
    changed = change(
        spec, "components/comp-condition-2/dag/tasks/again", {"componentRef": {"name": "comp-condition-2"}}
    )
    assert "contains itself" in refused(changed)


def test_code_that_is_not_on_this_machine_is_refused_by_name(spec: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'check'"):
        programs(read(copy.deepcopy(spec)), [tmp_path])


def lightweight(command: str) -> dict[str, Any]:
    source = "def f(): pass"
    words = [
        "sh",
        "-c",
        command,
        "sh",
        "-ec",
        'python3 -m kfp.dsl.executor_main "$program_path/ephemeral_component.py"',
    ]
    return {"image": "i", "command": [*words, source], "args": ["--function_to_execute", "f"]}


def test_an_f_string_with_a_part_of_a_loop_item_is_refused_with_the_way_out(compiled: Callable[..., Path]) -> None:
    @dsl.pipeline(name="parts")
    def parts():
        with dsl.ParallelFor([{"a": "x"}]) as item:
            c.text(value=f"<{item.a}>")

    with pytest.raises(UserError, match=r"give item\.a to the component as an input of its own"):
        read_pipeline(compiled(parts))


@pytest.mark.parametrize("source", ["def f(:", "(" * 500 + ")" * 500, "-" * 100_000 + "1", "a\0b"])
def test_source_that_python_cannot_read_is_refused_by_name(spec: dict[str, Any], source: str) -> None:
    changed = change(spec, f"{TRAIN}/container", lightweight(""))
    changed["deploymentSpec"]["executors"]["exec-train"]["container"]["command"][-1] = source
    with pytest.raises(UserError, match=r"'exec-train' holds Python source that cannot be read: \S") as caught:
        classify(read(changed).components["comp-train"].container)
    assert "\n" not in str(caught.value)


def test_command_that_is_not_on_this_machine_is_refused_by_name(spec: dict[str, Any], tmp_path: Path) -> None:
    for container, said in (
        ({"image": "alpine", "command": ["no-such-program-9"]}, "no-such-program-9"),
        ({"image": "alpine"}, "alpine"),
    ):
        changed = change(spec, f"{TRAIN}/container", container)
        changed["deploymentSpec"]["executors"]["exec-check"]["container"] = lightweight("")
        with pytest.raises(UserError, match=said):
            programs(read(changed), [tmp_path])


def test_platform_settings_are_honoured_listed_or_refused(compiled: Callable[..., Path]) -> None:
    @dsl.pipeline(name="timed")
    def timed():
        task = train(x=1.0)
        kubernetes.set_timeout(task, seconds=30)
        kubernetes.add_node_selector(task, "k", "v")

    pipeline = read_pipeline(compiled(timed))
    assert pipeline.components["comp-train"].container.settings.timeout_seconds == 30
    assert "nodeSelector" in pipeline.warnings[0]

    documents = list(yaml.safe_load_all(compiled(timed).read_text()))
    documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]["hostPath"] = {"path": "/"}
    with pytest.raises(UserError, match="hostPath"):
        pipeline_from(documents, "", "f.yaml")


def messages(descriptor: Any, seen: set[str]) -> Iterator[Any]:
    if descriptor.full_name in seen or descriptor.full_name.startswith("google."):
        return
    seen.add(descriptor.full_name)
    yield descriptor
    for item in descriptor.fields:
        if item.message_type:
            yield from messages(item.message_type, seen)


def test_every_field_of_kfps_schema_is_known_to_the_reader() -> None:
    """A field that KFP adds must be decided on: read, ignored on purpose, or refused with a better word."""
    source = "".join(inspect.getsource(module) for module in (reader, executors, jobs, platform_config))
    mentioned = set(re.findall(r'"([A-Za-z]+)"', source))
    # Made of parts in executors._resources.
    mentioned |= {f"{a}{b}" for a in ("cpu", "memory", "resourceCpu", "resourceMemory") for b in ("Limit", "Request")}
    known_to_be_refused = {
        # Inside messages that are refused or ignored as a whole.
        "preCacheCheck", "exec", "type", "count",
        "resourceType", "resourceCount", "outputArtifactQueries", "filter", "limit",
        "pvcSpecPatch", "size", "workspace",
        "kubernetes", "config", "field", "applyToTask", "key", "value", "platform", "activeDeadlineSeconds",
    }  # fmt: skip
    roots = (
        pipeline_spec_pb2.PipelineSpec, pipeline_spec_pb2.PipelineDeploymentConfig, pipeline_spec_pb2.PlatformSpec,
        pipeline_spec_pb2.PipelineJob,
    )  # fmt: skip
    seen: set[str] = set()
    fields = {
        item.json_name for root in roots for message in messages(root.DESCRIPTOR, seen) for item in message.fields
    }
    assert fields - mentioned - known_to_be_refused == set()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_pipeline_is_refused_or_read_but_never_a_traceback(spec: dict[str, Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(spec)
    for _ in range(data.draw(st.integers(1, 3))):
        damage(changed, data)
    try:
        read(changed)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017


def damage(node: Any, data: st.DataObject) -> None:
    """Replaces, removes or renames something at a random depth."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        junk = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({}) | st.just([{}])
        match data.draw(st.sampled_from(["replace", "remove", "rename"])):
            case "replace":
                node[key] = data.draw(junk)
            case "remove":
                del node[key]
            case "rename" if isinstance(node, dict):
                node[data.draw(st.text(max_size=5))] = node.pop(key)
        return
