"""kfp's own question for the name of a setter, answered quickly."""

import inspect

import pytest
from kfp import dsl
from kfp.dsl import pipeline_task

from pipelines.quick_stack import stack


def test_frames_are_those_of_inspect() -> None:
    ours, theirs = stack(), inspect.stack()
    assert [one[0] for one in ours] == [one.frame for one in theirs]
    assert [one[1] for one in ours[:3]] == [one.filename for one in theirs[:3]]
    assert [one[3] for one in ours] == [one.function for one in theirs]


def test_kfp_names_the_setter_in_its_error_and_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "getouterframes", lambda *_: pytest.fail("it reads the source of every frame"))

    @dsl.pipeline
    def inner() -> None:
        dsl.importer(artifact_uri="gs://x/y", artifact_class=dsl.Dataset)

    with pytest.raises(ValueError, match="set_cpu_request can only be used on single-step components"):

        @dsl.pipeline
        def outer() -> None:
            inner().set_cpu_request("1")

    assert pipeline_task.inspect.stack is stack
