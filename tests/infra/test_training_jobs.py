"""A TrainJob that `trimtab trainjob` writes for an overlay: of the API's shape, and all that it names is there."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.objects import INFRA, OVERLAYS, Object, name_of, of_kind
from manifests.references import reference_problems
from manifests.shape import shape_problems
from manifests.syntax import amount
from train_job_nodes import command_line, remember

from components.core.artifacts.manifest import publish
from components.core.store import open_store

Installation = Callable[[str], list[Object]]
Write = Callable[..., Object]
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
IMAGE = "registry.example.com/trimtab/train@sha256:" + "5e" * 32


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The manifest that the command writes with an overlay's values, or others."""
    store = open_store(str(tmp_path / "store"))
    digests = {}
    for stage, output, kind in (
        ("data_prep", "prepared", "Dataset"), ("backbone_selection", "model", "Model"), ("fine_tune", "tuned", "Model"),
        ("prune", "pruned", "Model"),
    ):  # fmt: skip
        path = tmp_path / stage
        publish(path, kind=kind.lower(), files={"a": stage.encode()}, metadata={"stage": stage}, store=store)
        digests[stage] = remember(store, stage, output, kind, path)
    (tmp_path / "lock.json").write_text(json.dumps({"trimtab/train": IMAGE}))
    inputs = {
        "fine_tune": {"dataset": "data_prep", "model": "backbone_selection"},
        "distill": {"dataset": "data_prep", "teacher": "fine_tune", "student": "prune"},
    }

    def of(*words: str, task: str = "fine_tune", values: Path = INFRA / "overlays" / "dev" / "values.yaml") -> Object:
        given = [word for name, stage in inputs[task].items() for word in ("--input", f"{name}={digests[stage]}")]
        command_line(
            "trainjob", task, "--store", str(tmp_path / "store"), "--values", str(values), "--namespace", "kubeflow",
            "--images", str(tmp_path / "lock.json"), "--output", str(tmp_path / "job.yaml"), *given, *words,
        )  # fmt: skip
        return yaml.safe_load((tmp_path / "job.yaml").read_text())  # type: ignore[no-any-return]

    return of


def pod_patch(job: Object) -> Object:
    """`metadata` and `spec` of the pods, whatever the API calls it."""
    if "podTemplateOverrides" in job["spec"]:
        return job["spec"]["podTemplateOverrides"][0]
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return node["template"]["spec"]["template"]


def as_job(job: Object) -> Object:
    """The pod that the Trainer makes: the runtime's, with the job's trainer and patch in it."""
    trainer, patch = job["spec"]["trainer"], copy.deepcopy(pod_patch(job))
    (container,) = patch["spec"]["containers"]
    container |= {key: trainer[key] for key in ("image", "command", "args", "env")}
    container["resources"] = trainer["resourcesPerNode"]
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": dict(job["metadata"]),
        "spec": {
            "completions": trainer["numNodes"], "completionMode": "Indexed",
            "template": {"metadata": patch["metadata"], "spec": {**patch["spec"], "restartPolicy": "Never"}},
        },
    }  # fmt: skip


@every_overlay
@pytest.mark.parametrize("trainer", ["2.1", "2.2", "2.3"])
def test_it_has_the_shape_of_the_api_and_its_pods_that_of_kubernetes(write: Write, overlay: str, trainer: str) -> None:
    job = write("--trainer", trainer, values=INFRA / "overlays" / overlay / "values.yaml")
    for version in ("1.29", "1.34", "1.37"):
        assert shape_problems([job, as_job(job)], version=version) == []


@every_overlay
@pytest.mark.parametrize("task", ["fine_tune", "distill"])
def test_what_it_names_is_in_the_overlay(write: Write, installation: Installation, overlay: str, task: str) -> None:
    words = ["--set", 'recipe={"name": "whole"}'] if task == "distill" else []
    job = as_job(write(*words, task=task, values=INFRA / "overlays" / overlay / "values.yaml"))
    there = installation(overlay)
    assert f"ServiceAccount/{job['spec']['template']['spec']['serviceAccountName']}" in map(name_of, there)
    assert reference_problems([*there, job]) == []
    (limits,) = of_kind(there, "LimitRange")
    (most,) = (limit["max"] for limit in limits["spec"]["limits"] if limit["type"] == "Container")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for unit, quantity in container["resources"]["requests"].items():
        assert 0 < amount(quantity) <= amount(most[unit])


def test_a_reference_to_what_is_not_there_is_found(write: Write, installation: Installation) -> None:
    job = as_job(write())
    spec = job["spec"]["template"]["spec"]
    spec["serviceAccountName"] = "nobody"
    spec["containers"][0]["volumeMounts"].append({"name": "elsewhere", "mountPath": "/elsewhere"})
    for entry in spec["containers"][0]["env"]:
        if "secretKeyRef" in entry.get("valueFrom", {}):
            entry["valueFrom"]["secretKeyRef"]["name"] = "nothing"
    found = "\n".join(reference_problems([*installation("dev"), job]))
    for expected in ("there is no ServiceAccount nobody", "there is no volume elsewhere", "there is no Secret nothing"):
        assert expected in found


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda spec: spec.update(podSpecOverrides=[]), "spec: 'podSpecOverrides' is unknown"),
        (lambda spec: spec["trainer"].update(numProcPerNode="auto"), "numProcPerNode: Input should be a valid integer"),
        (lambda spec: spec["trainer"]["env"].append({"name": "PET_NNODES", "value": "3"}), "PET_NNODES"),
        (lambda spec: spec["runtimePatches"][0].pop("manager"), "manager: Input should be a valid string"),
        (
            lambda spec: pod_patch({"spec": spec})["spec"].update(hostNetwork=True),
            "template.spec: 'hostNetwork' is unknown",
        ),
    ],
)
def test_a_broken_job_is_refused(write: Write, break_it: Callable[[Object], object], expected: str) -> None:
    job = write()
    break_it(job["spec"])
    assert expected in "\n".join(shape_problems([job], version="1.34"))


@pytest.mark.parametrize("key", ["securityContext", "terminationGracePeriodSeconds"])
def test_what_trainer_2_1_cannot_change_in_a_pod_is_refused(write: Write, key: str) -> None:
    job = write("--trainer", "2.1")
    assert shape_problems([job], version="1.34") == []
    pod_patch(job)["spec"][key] = {}
    assert f"podTemplateOverrides: {key!r} is unknown" in "\n".join(shape_problems([job], version="1.34"))


def test_a_stages_values_are_its_nodes(write: Write, tmp_path: Path) -> None:
    settings = {
        "serviceAccount": "trainer",
        "defaults": {
            "configMapEnv": {"trimtab-store": {"TRIMTAB_STORE": "TRIMTAB_STORE"}},
            "secretEnv": {"keys": {"id": "AWS_ACCESS_KEY_ID"}}, "imagePullSecrets": ["registry"], "timeout": "2h",
        },
        "stages": {
            "fine_tune": {
                "resources": {"requests": {"cpu": 8, "memory": "16Gi"}, "limits": {"memory": "24Gi"}},
                "accelerator": {"type": "nvidia.com/gpu", "count": 4}, "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
                "ephemeralVolumes": [{"name": "scratch", "mountPath": "/scratch", "size": "50Gi"}],
                "env": {"TRIMTAB_CACHE": "/scratch"}, "secretVolumes": {"ca": "/etc/ca"},
            },
        },
    }  # fmt: skip
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(settings))
    job = write("--nodes", "4", "-p", "seed=0", values=tmp_path / "values.yaml")
    trainer, pod = job["spec"]["trainer"], pod_patch(job)["spec"]
    assert (trainer["image"], trainer["numNodes"], trainer["numProcPerNode"]) == (IMAGE, 4, 4)
    assert json.loads(trainer["args"][0])["parameters"]["num_processes"] == 16
    assert trainer["resourcesPerNode"] == {
        "requests": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "4"},
        "limits": {"memory": "24Gi", "nvidia.com/gpu": "4"},
    }
    variables = {entry["name"]: entry for entry in trainer["env"]}
    assert variables["TRIMTAB_CACHE"] == {"name": "TRIMTAB_CACHE", "value": "/scratch"}
    assert variables["TRIMTAB_THREADS"]["value"] == "8"
    assert variables["TRIMTAB_STORE"]["valueFrom"]["configMapKeyRef"]["name"] == "trimtab-store"
    assert variables["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "id"}
    assert pod["serviceAccountName"] == "trainer"
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert job["spec"]["activeDeadlineSeconds"] == 7200
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert pod["volumes"][1] == {"name": "trimtab-secret-0", "secret": {"secretName": "ca"}}
    assert mounted == {
        "trimtab-secret-0": "/etc/ca",
        "scratch": "/scratch",
        "trimtab-tmp": "/tmp",
        "trimtab-shm": "/dev/shm",
    }
    assert {volume["name"] for volume in pod["volumes"]} == set(mounted)


def test_its_pods_are_as_closed_as_those_of_a_run(write: Write) -> None:
    pod = pod_patch(write("--trainer", "2.3"))
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "trimtab-training"}
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 120
    closed: dict[str, Any] = pod["spec"]["containers"][0]["securityContext"]
    assert closed == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
