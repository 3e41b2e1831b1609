"""The resources of a pipeline on the cluster: KFP's, and those that its tasks name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl, kubernetes
from manifests.objects import INFRA, OVERLAYS, Object, name_of, of_kind
from manifests.references import platform_problems
from manifests.shape import shape_problems
from manifests.syntax import amount

from pipelines.cluster.images import Images
from pipelines.cluster.package import Package, make_package, write_manifests

COMPILED = sorted((INFRA.parent / "pipelines" / "compiled").glob("*.yaml"))
Installation = Callable[[str], list[Object]]
every_pipeline = pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def packaged(path: Path, overlay: str) -> Package:
    """The resources that `trimtab submit --values infra/overlays/OVERLAY/values.yaml` sends."""
    return make_package(path, images=Images(), values=INFRA / "overlays" / overlay / "values.yaml")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The main pipeline as Kubernetes resources, written by KFP's own compiler."""
    path = tmp_path_factory.mktemp("resources") / "optimize.yaml"
    write_manifests(packaged(COMPILED[0], "dev"), path, namespace="kubeflow")
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


@every_overlay
@every_pipeline
def test_what_the_tasks_name_is_in_the_overlay(installation: Installation, path: Path, overlay: str):
    package = packaged(path, overlay)

    assert f"ServiceAccount/{package.service_account}" in map(name_of, installation(overlay))
    assert [p for document in package.documents for p in platform_problems(document, installation(overlay))] == []


@every_overlay
@every_pipeline
def test_every_task_is_told_the_store(path: Path, overlay: str):
    executors = packaged(path, overlay).documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    webhook = {"TRIMTAB_WEBHOOK_URL", "TRIMTAB_WEBHOOK_KEY"}  # of the exit task of `retrain`, by its own secret
    told = {"TRIMTAB_STORE", "AWS_ENDPOINT_URL_S3", "AWS_REGION"}
    # With IRSA the identity is the pod's own.
    told |= set() if overlay == "aws" else {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}

    assert executors
    for config in executors.values():
        entries = [*config.get("configMapAsEnv", []), *config.get("secretAsEnv", [])]
        assert {pair["envVar"] for entry in entries for pair in entry["keyToEnv"]} - webhook == told


@every_overlay
@every_pipeline
def test_every_task_fits_into_the_limits_and_the_quota(installation: Installation, path: Path, overlay: str):
    objects = installation(overlay)
    (limits,) = of_kind(objects, "LimitRange")
    (quota,) = of_kind(objects, "ResourceQuota")
    (most,) = (limit["max"] for limit in limits["spec"]["limits"] if limit["type"] == "Container")
    hard = quota["spec"]["hard"]
    executors = packaged(path, overlay).documents[0]["deploymentSpec"]["executors"]

    for executor in executors.values():
        asked = executor["container"]["resources"]
        for resource, request in (("cpu", asked["resourceCpuRequest"]), ("memory", asked["resourceMemoryRequest"])):
            assert amount(request) <= amount(most[resource])
            # Two recipes side by side, and KFP's own pods.
            assert 2 * amount(request) < amount(hard[f"requests.{resource}"]) / 2


def test_what_a_pipeline_names_must_be_there(installation: Installation, tmp_path: Path):
    @dsl.container_component
    def step():
        return dsl.ContainerSpec(image="step:1", command=["true"])

    @dsl.pipeline(name="named")
    def named():
        task = step()
        kubernetes.use_secret_as_env(task, "trimtab-store-credentials", {"AWS_ACCESS_KEY_ID": "A", "KEY": "B"})
        kubernetes.use_config_map_as_env(task, "trimtab-store", {"TRIMTAB_STORE": "S"})
        kubernetes.use_config_map_as_env(task, "settings", {"s": "S"})
        kubernetes.use_config_map_as_env(task, "tuning", {"t": "T"}, optional=True)
        kubernetes.mount_pvc(task, "disk", "/disk")
        kubernetes.set_image_pull_secrets(task, ["registry"])

    compiler.Compiler().compile(named, str(tmp_path / "named.yaml"))
    _, platform = yaml.safe_load_all((tmp_path / "named.yaml").read_text())

    found = platform_problems(platform, installation("generic-s3"))

    assert sorted(problem.partition(": ")[2] for problem in found) == [
        "Secret trimtab-store-credentials has no key KEY",
        "there is no ConfigMap settings",
        "there is no PersistentVolumeClaim disk",
        "there is no Secret registry",
    ]
