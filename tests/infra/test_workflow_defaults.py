"""The defaults of Argo's controller, merged into pods as KFP makes them by kubectl's own strategic merge."""

import json
import shlex
from typing import Any

import pytest
import yaml
from manifests.objects import INFRA, Object, containers, kubectl
from manifests.rights import pod_spec_problems
from manifests.shape import shape_problems

KEY = "workflowDefaults"


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    """The spec that every workflow starts from."""
    patch = yaml.safe_load((INFRA / "kfp" / "workflow-controller.yaml").read_text())
    assert list(patch) == ["data"]
    assert list(patch["data"]) == [KEY], "a merge patch must not touch another key of KFP's ConfigMap"
    return yaml.safe_load(patch["data"][KEY])["spec"]


def task_pod() -> Object:
    """A task's pod as KFP 2.15 leaves it to Argo: an Argo container, KFP's launcher, the task itself."""
    scratch = ["kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch"]
    main = {
        "name": "main",
        "image": "trimtab/train:0.1.0",
        "command": ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch"],
        "env": [{"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "envFrom": [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}],
        "resources": {"requests": {"cpu": "2", "memory": "4G"}},
        "volumeMounts": [{"name": name, "mountPath": f"/{name.removesuffix('-scratch')}"} for name in scratch],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "task", "labels": {"pipelines.kubeflow.org/v2_component": "true"}},
        "spec": {
            "serviceAccountName": "trimtab-runner",
            "restartPolicy": "Never",
            "initContainers": [
                {"name": "init", "image": "quay.io/argoproj/argoexec:v3.7.3"},
                {"name": "kfp-launcher", "image": "ghcr.io/kubeflow/kfp-launcher:2.15.0"},
            ],
            "containers": [{"name": "wait", "image": "quay.io/argoproj/argoexec:v3.7.3"}, main],
            "volumes": [{"name": name, "emptyDir": {}} for name in scratch],
        },
    }


def merged(pod: Object, *patches: str) -> Object:
    """As Argo does it: the workflow's patch, then the template's, each a strategic merge into the pod's spec."""
    for patch in patches:
        text = json.dumps({"spec": yaml.safe_load(patch)})
        arguments = ["patch", "--local", "-f", "-", "--type=strategic", "-p", text, "-o", "json"]
        pod = json.loads(kubectl(*arguments, stdin=json.dumps(pod)))
    return pod


def main_of(pod: Object) -> Object:
    (main,) = (container for container in containers(pod) if container["name"] == "main")
    return main


@pytest.fixture
def patched(defaults: dict[str, Any]) -> Object:
    return merged(task_pod(), defaults["podSpecPatch"])


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_a_task_is_a_valid_pod_afterwards(patched: Object, version: str):
    assert shape_problems([patched], version=version) == []


def test_a_task_runs_as_10001_on_a_root_that_it_cannot_write(patched: Object):
    assert pod_spec_problems(task_pod(), only="main") != []
    assert pod_spec_problems(patched, only="main") == []


def test_a_task_has_time_to_write_its_checkpoint(patched: Object):
    assert patched["spec"]["terminationGracePeriodSeconds"] == 120


def test_a_task_may_write_to_tmp(patched: Object):
    (volume,) = (mount["name"] for mount in main_of(patched)["volumeMounts"] if mount["mountPath"] == "/tmp")

    assert {"name": volume, "emptyDir": {"sizeLimit": "8Gi"}} in patched["spec"]["volumes"]


def test_nothing_that_kfp_set_is_lost(patched: Object):
    before = {container["name"]: container for container in containers(task_pod())}

    assert [c["name"] for c in containers(patched)] == [c["name"] for c in containers(task_pod())]
    for container in containers(patched):
        for field, value in before[container["name"]].items():
            if field == "volumeMounts":
                assert all(mount in container[field] for mount in value)
            else:
                assert container[field] == value
    assert all(volume in patched["spec"]["volumes"] for volume in task_pod()["spec"]["volumes"])


def test_what_a_pipeline_says_of_a_task_wins(defaults: dict[str, Any]):
    template = "containers: [{name: main, image: other:1, securityContext: {runAsUser: 20002}}]"

    main = main_of(merged(task_pod(), defaults["podSpecPatch"], template))

    assert (main["image"], main["securityContext"]["runAsUser"]) == ("other:1", 20002)
    assert main["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_tmp_that_a_stage_compiles_to_and_this_one_are_one(defaults: dict[str, Any]):
    """The template's patch is KFP's, of an `emptyDir` and a user as `pipelines/pods.py` says them."""
    template = """
        volumes: [{name: trimtab-tmp, emptyDir: {}}]
        containers:
          - name: main
            image: trimtab/train:0.1.0
            securityContext: {runAsUser: 10001, runAsGroup: 10001, runAsNonRoot: true}
            volumeMounts: [{name: trimtab-tmp, mountPath: /tmp}]
    """

    pod = merged(task_pod(), defaults["podSpecPatch"], template)

    assert [mount["name"] for mount in main_of(pod)["volumeMounts"]].count("trimtab-tmp") == 1
    assert [volume for volume in pod["spec"]["volumes"] if volume["name"] == "trimtab-tmp"] == [
        {"name": "trimtab-tmp", "emptyDir": {"sizeLimit": "8Gi"}}
    ]
    assert shape_problems([pod], version="1.34") == []
    assert pod_spec_problems(pod, only="main") == []


def test_a_pod_of_a_single_container_gets_no_further_one(defaults: dict[str, Any]):
    driver = task_pod()
    del driver["spec"]["initContainers"]
    driver["spec"]["containers"] = [{"name": "main", "image": "ghcr.io/kubeflow/kfp-driver:2.15.0"}]

    patched = merged(driver, defaults["podSpecPatch"])

    assert [container["name"] for container in containers(patched)] == ["main"]
    assert shape_problems([patched], version="1.34") == []


def test_the_guides_command_adds_the_defaults_and_uninstall_takes_them_back():
    guide = (INFRA / "README.md").read_text()
    commands = [line for line in guide.splitlines() if "patch configmap workflow-controller-configmap" in line]
    kfps = {"artifactRepository": "archiveLogs: true", "executor": "imagePullPolicy: IfNotPresent"}
    before = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "kubeflow"}, "data": kfps}

    states = [before]
    for command in commands:
        _, *arguments = shlex.split(command.replace("configmap workflow-controller-configmap", "--local -f - -o json"))
        arguments = [argument.replace("=infra/", f"={INFRA}/") for argument in arguments]
        states.append(json.loads(kubectl(*arguments, stdin=json.dumps(states[-1]))))

    assert [sorted(state["data"]) for state in states] == [sorted(kfps), [*sorted(kfps), KEY], sorted(kfps)]
    assert states[2]["data"] == kfps


def test_finished_workflows_are_cleared_away_and_failed_ones_stay_a_week(defaults: dict[str, Any]):
    assert defaults["ttlStrategy"] == {"secondsAfterSuccess": 24 * 3600, "secondsAfterFailure": 7 * 24 * 3600}
