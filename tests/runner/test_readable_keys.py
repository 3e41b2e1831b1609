"""A pipeline with readable keys does what the same pipeline with the compiler's keys does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from components_for_tests import add
from google.protobuf import json_format
from kfp import dsl
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from pipelines.readable import readable


@dsl.pipeline
def numbered(n: int = 3) -> list[int]:
    first = add(a=n, b=1)
    with dsl.If(first.output == 4, name="it is four"):
        four = add(a=first.output, b=10)
    with dsl.Else(name="else"):
        other = add(a=first.output, b=100)
    with dsl.ParallelFor([1, 2], name="numbers") as number:
        summed = add(a=dsl.OneOf(four.output, other.output), b=number)
        add(a=summed.output, b=first.output)
    return dsl.Collected(summed.output)


def test_a_pipeline_with_readable_keys_gives_the_same(
    run: Callable[..., Any], compiled: Callable[..., Path], tmp_path: Path
) -> None:
    before = compiled(numbered)
    spec = json_format.ParseDict(yaml.safe_load(before.read_text()), PipelineSpec())
    after = tmp_path / "readable.yaml"
    after.write_text(yaml.safe_dump(json_format.MessageToDict(readable(spec, PlatformSpec())[0])))
    for n, expected in ((3, [15, 16]), (4, [106, 107])):
        as_compiled, as_read = run(before, n=n), run(after, n=n)
        assert as_read.result.outputs == as_compiled.result.outputs == {"Output": expected}
        assert sorted(as_read.statuses().values()) == sorted(as_compiled.statuses().values())
        # A result is found again under the new keys: they are no part of a result's key.
        assert as_read.cached() == {task for task in as_read.statuses() if task.rpartition("/")[2].startswith("add")}
    assert "it-is-four-or-else/else/add" in as_read.statuses()
    assert "numbers/[0]/add" in as_read.statuses()
    assert "numbers/[0]/add-5" in as_read.statuses()  # the second in its graph keeps its number
    assert "pipelinechannel" not in after.read_text()


@dsl.pipeline
def sums(n: int = 3) -> None:
    small = add(a=n, b=1).set_cpu_request("1")
    large = add(a=small.output, b=2).set_cpu_request("2")
    add(a=large.output, b=3).set_cpu_request("3")


def test_components_are_numbered_in_the_order_of_the_tasks_whatever_the_compiler_called_them(
    compiled: Callable[..., Path],
) -> None:
    written = compiled(sums).read_text()
    numbered_otherwise = written.replace("comp-add-2", "comp-add-9").replace("exec-add-2", "exec-add-9")
    assert numbered_otherwise.count("-add-9") == 4
    specs = [json_format.ParseDict(yaml.safe_load(text), PipelineSpec()) for text in (written, numbered_otherwise)]
    settings = PlatformSpec()
    for label in ("exec-add", "exec-add-2", "exec-add-9", "exec-add-3"):
        settings.platforms["kubernetes"].deployment_spec.executors[label].update({"called": label})
    (first, kept), (second, _) = (readable(spec, settings) for spec in specs)
    document = json_format.MessageToDict(first)
    executors = document["deploymentSpec"]["executors"]
    requests = {label: executors[label]["container"]["resources"]["cpuRequest"] for label in executors}
    assert requests.keys() == {"exec-add", "exec-add-2", "exec-add-3"}
    assert [requests[document["components"][f"comp-add{number}"]["executorLabel"]] for number in ("", "-2", "-3")] == [
        1.0, 2.0, 3.0,
    ]  # fmt: skip
    assert set(kept.platforms["kubernetes"].deployment_spec.executors) == set(executors)
    assert json_format.MessageToDict(second)["components"].keys() == document["components"].keys()
    assert second.deployment_spec == first.deployment_spec
