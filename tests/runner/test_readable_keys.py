"""A pipeline with readable keys does what the same pipeline with the compiler's keys does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from components_for_tests import add
from google.protobuf import json_format
from kfp import dsl
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

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
    after.write_text(yaml.safe_dump(json_format.MessageToDict(readable(spec))))
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
