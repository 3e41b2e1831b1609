"""What a pipeline brings to the cluster: KFP's resources, and what its compiled form names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kfp import compiler
from manifests.objects import INFRA, OVERLAYS, Object, of_kind
from manifests.references import platform_problems
from manifests.shape import shape_problems

from pipelines.optimize import optimize

COMPILED = sorted((INFRA.parent / "pipelines" / "compiled").glob("*.yaml"))


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The main pipeline as Kubernetes resources, by KFP's own compiler."""
    path = tmp_path_factory.mktemp("resources") / "optimize.yaml"
    options = compiler.KubernetesManifestOptions(
        pipeline_name="optimize", pipeline_version_name="v1", namespace="kubeflow", include_pipeline_manifest=True
    )
    compiler.Compiler().compile(
        optimize, str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )
    return list(yaml.safe_load_all(path.read_text()))


def test_the_schemas_take_what_kfp_writes(resources: list[Object]):
    assert {obj["kind"] for obj in resources} == {"Pipeline", "PipelineVersion"}
    assert shape_problems(resources, version="1.34") == []


@pytest.mark.parametrize(
    ("kind", "break_it", "expected"),
    [
        ("Pipeline", lambda spec: spec.update(version="v1"), "'version' was unexpected"),
        ("PipelineVersion", lambda spec: spec.pop("pipelineSpec"), "'pipelineSpec' is a required"),
        ("PipelineVersion", lambda spec: spec.update(pipelineId="1"), "'pipelineId' was unexpected"),
        ("PipelineVersion", lambda spec: spec["pipelineSpec"].pop("root"), "'root' is a required"),
    ],
)
def test_a_broken_resource_is_refused(
    resources: list[Object], kind: str, break_it: Callable[[Object], object], expected: str
):
    (resource,) = yaml.safe_load_all(yaml.safe_dump(next(of_kind(resources, kind))))
    break_it(resource["spec"])

    assert expected in "\n".join(shape_problems([resource], version="1.34"))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_what_a_compiled_pipeline_names_is_in_every_overlay(
    installation: Callable[[str], list[Object]], path: Path, overlay: str
):
    for document in yaml.safe_load_all(path.read_text()):
        assert platform_problems(document, installation(overlay)) == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_the_guide_loads_every_image_that_a_pipeline_needs(path: Path):
    executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"].values()
    guide = (INFRA / "README.md").read_text()

    for image in {executor["container"]["image"] for executor in executors if "container" in executor}:
        assert f"kind load docker-image {image}\n" in guide
