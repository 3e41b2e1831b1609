"""A compiled pipeline in a wrapping: a job with values, or Kubernetes manifests as the SDK writes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from components.core.errors import UserError
from pipelines.runner.reading.reader import pipeline_from, read_pipeline

Run = Callable[..., Any]


@dsl.pipeline(name="adding")
def adding(a: int, b: int = 2) -> int:
    task = c.add(a=a, b=b)
    kubernetes.set_timeout(task, seconds=77)
    return task.output


@pytest.fixture
def documents(compiled: Callable[..., Path]) -> list[Any]:
    return list(yaml.safe_load_all(compiled(adding).read_text()))


def test_a_jobs_values_are_defaults_which_the_command_line_overrides(
    run: Run, documents: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "job.json"
    job = {
        "displayName": "my job", "pipelineSpec": documents[0], "labels": {"team": "x"},
        "runtimeConfig": {"parameterValues": {"a": 40.0}, "gcsOutputDirectory": "gs://b/root"},
    }  # fmt: skip
    path.write_text(json.dumps(job))
    assert run(path).result.outputs == {"Output": 42}
    assert run(path, a="1").result.outputs == {"Output": 3}


def test_values_of_the_old_form_have_their_types(documents: list[Any]) -> None:
    config = {"parameters": {"a": {"intValue": "7"}, "b": {"doubleValue": 3.0}}}
    pipeline = pipeline_from([{"pipelineSpec": documents[0], "runtimeConfig": config}], "", "job")
    assert {name: item.default for name, item in pipeline.root.input_parameters.items()} == {"a": 7, "b": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runtimeConfig": {"parameterValues": {"c": 1}}}, "runtimeConfig gives the parameter 'c'"),
        ({"runtimeConfig": {"parameterValues": {"a": "x"}}}, "must be an integer"),
        ({"runtimeConfig": {"inputArtifacts": {"d": {"artifactId": "1"}}}}, "inputArtifacts"),
        ({"runtimeConfig": {"unheardOf": 1}}, "unheardOf"),
        ({"unheardOf": 1}, "unheardOf"),
    ],
)
def test_what_a_job_must_not_say_is_refused_by_name(documents: list[Any], change: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        pipeline_from([{"pipelineSpec": documents[0], **change}], "", "job")
    assert said in str(caught.value)


def test_a_failure_policy_that_is_not_ours_is_a_warning(documents: list[Any]) -> None:
    config = {"failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_SLOW"}
    pipeline = pipeline_from([{"pipelineSpec": documents[0], "runtimeConfig": config}], "", "job")
    assert "failurePolicy" in pipeline.warnings[0]


@pytest.mark.parametrize("with_pipeline", [False, True])
def test_kubernetes_manifests_of_the_sdk_are_read_with_their_platform_settings(
    tmp_path: Path, with_pipeline: bool
) -> None:
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    path = tmp_path / "manifest.yaml"
    options = KubernetesManifestOptions(pipeline_name="adding", include_pipeline_manifest=with_pipeline)
    compiler.Compiler().compile(adding, str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options)
    assert path.read_text().count("kind: Pipeline\n") == with_pipeline
    pipeline = read_pipeline(path)
    assert pipeline.components["comp-add"].container.settings.timeout_seconds == 77
