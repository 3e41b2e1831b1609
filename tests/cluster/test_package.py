"""A pipeline made ready for a cluster: its name, its version, its two forms."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.core.errors import UserError
from pipelines.cluster.images import Images
from pipelines.cluster.package import Package, make_package, write_ir, write_manifests
from pipelines.cluster.submission import run_parameters

PackageWith = Callable[..., Package]


def plain(path: Path) -> Package:
    return make_package(path, images=Images(), values=None)


def test_the_version_follows_the_content_and_not_the_sdk(
    compiled: Path, tmp_path: Path, package_with: PackageWith
) -> None:
    version = plain(compiled).version
    assert version.startswith("little-")
    text = compiled.read_text()
    (tmp_path / "newer.yaml").write_text(text.replace("sdkVersion: kfp-", "sdkVersion: kfp-9"))
    (tmp_path / "other.yaml").write_text(text.replace("defaultValue: well", "defaultValue: ill"))
    assert plain(tmp_path / "newer.yaml").version == version
    assert plain(tmp_path / "other.yaml").version != version
    assert package_with("defaults: {timeout: 1h}").version != version


def test_both_forms_hold_the_same_content(tmp_path: Path, package_with: PackageWith) -> None:
    package = package_with("defaults: {timeout: 1h}")
    write_ir(package, tmp_path / "ir.yaml")
    write_manifests(package, tmp_path / "manifests.yaml", namespace="ml")
    assert plain(tmp_path / "ir.yaml").version == package.version
    assert plain(tmp_path / "manifests.yaml").version == package.version
    assert "# Description: Adds and doubles." in (tmp_path / "ir.yaml").read_text()


def test_the_manifests_are_a_pipeline_and_its_version(tmp_path: Path, package_with: PackageWith) -> None:
    package = package_with("defaults: {timeout: 1h}")
    write_manifests(package, tmp_path / "manifests.yaml", namespace="ml")
    pipeline, version = yaml.safe_load_all((tmp_path / "manifests.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"] == {"name": "little", "namespace": "ml"}
    assert version["metadata"] == {"name": package.version, "namespace": "ml"}
    assert version["spec"]["pipelineName"] == "little"
    json_format.ParseDict(version["spec"]["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(version["spec"]["platformSpec"], pipeline_spec_pb2.PlatformSpec())


def test_a_name_that_kubernetes_does_not_allow_is_adapted(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "named.yaml").write_text(
        compiled.read_text().replace("  name: little\n", "  name: My Pipeline (new)!\n")
    )
    package = plain(tmp_path / "named.yaml")
    assert (package.name, package.resource_name) == ("My Pipeline (new)!", "my-pipeline-new")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "not a compiled KFP v2 pipeline"),
        ("[]", "not a compiled pipeline"),
        ("pipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {surprise: 1}}}}", "KFP does not accept the pipeline"),
    ],
)
def test_what_is_no_pipeline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        plain(tmp_path / "x.yaml")


def test_a_job_is_unwrapped_and_its_values_are_sent_unless_others_are_given(compiled: Path, tmp_path: Path) -> None:
    job = {
        "pipelineSpec": next(yaml.safe_load_all(compiled.read_text())),
        "runtimeConfig": {"parameterValues": {"n": 3}},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    package = plain(tmp_path / "job.yaml")
    assert package.version == plain(compiled).version
    assert run_parameters(package, {"mode": "ill"}) == {"n": 3, "mode": "ill"}
    assert run_parameters(package, {"n": "4"}) == {"n": 4}
