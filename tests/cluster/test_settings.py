"""The settings of a values file in the compiled pipeline, read back as KFP's back end reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_pipelines import executors, first_stage, pods, read
from kfp import compiler, dsl, kubernetes

from components.core.errors import UserError
from pipelines.cli.catalog import COMPILED
from pipelines.cluster.images import Images
from pipelines.cluster.package import Package, make_package, write_ir
from pipelines.runner.conduct import RunResult
from pipelines.runner.options import RunOptions
from pipelines.runner.reading.reader import read_pipeline
from pipelines.runner.run import run_pipeline

PackageWith = Callable[..., Package]

EVERYTHING = """
defaults:
  imagePullSecrets: [registry]
stages:
  first_stage:
    resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, memory: 2G}}
    accelerator: {type: nvidia.com/gpu, count: 2}
    nodeSelector: {pool: gpu, zone: a}
    tolerations:
      - {key: gpu, operator: Exists, effect: NoSchedule}
      - {key: spot, operator: Equal, value: "true", effect: NoExecute, tolerationSeconds: 60}
    retry: {limit: 3, backoff: 30s, factor: 1.5, maxBackoff: 10m}
    timeout: 1h30m
    imagePullSecrets: [registry, mirror]
    imagePullPolicy: IfNotPresent
    ephemeralVolumes:
      - {name: scratch, mountPath: /scratch, size: 50Gi}
      - {name: fast, mountPath: /fast, size: 1Gi, accessModes: [ReadWriteMany], storageClassName: ssd}
    env: {MODE: quick}
    secretEnv: {store: {access-key: AWS_ACCESS_KEY_ID}}
    secretVolumes: {signing: /etc/signing, ca: /etc/ca}
    configMapEnv: {settings: {store: TRIMTAB_STORE}}
    securityContext: {runAsUser: 10001, runAsGroup: 10002, runAsNonRoot: true}
"""
FIRST, OTHERS = ("exec-first-stage", "exec-first-stage-2"), ("exec-second-stage", "exec-second-stage-2")


def test_every_setting_is_in_the_platform_document_of_its_stage(package_with: PackageWith) -> None:
    found = pods(package_with(EVERYTHING))
    for label in FIRST:
        pod = found[label]
        assert dict(pod.node_selector.labels) == {"pool": "gpu", "zone": "a"}
        assert [(t.key, t.operator, t.value, t.effect, t.toleration_seconds) for t in pod.tolerations] == [
            ("gpu", "Exists", "", "NoSchedule", 0),
            ("spot", "Equal", "true", "NoExecute", 60),
        ]
        assert pod.active_deadline_seconds == 5400
        assert [secret.secret_name for secret in pod.image_pull_secret] == ["registry", "mirror"]
        assert pod.image_pull_policy == "IfNotPresent"
        scratch, fast = pod.generic_ephemeral_volume
        assert (scratch.volume_name, scratch.mount_path, scratch.size) == ("scratch", "/scratch", "50Gi")
        assert (list(scratch.access_modes), scratch.default_storage_class) == (["ReadWriteOnce"], True)
        assert (list(fast.access_modes), fast.storage_class_name) == (["ReadWriteMany"], "ssd")
        (secret,), (config_map,) = pod.secret_as_env, pod.config_map_as_env
        assert (secret.secret_name, secret.key_to_env[0].secret_key) == ("store", "access-key")
        assert secret.key_to_env[0].env_var == "AWS_ACCESS_KEY_ID"
        assert (config_map.config_map_name, config_map.key_to_env[0].env_var) == ("settings", "TRIMTAB_STORE")
        mounted = [(item.secret_name, item.mount_path, item.optional) for item in pod.secret_as_volume]
        assert mounted == [("signing", "/etc/signing", False), ("ca", "/etc/ca", False)]
        assert (pod.security_context.run_as_user, pod.security_context.run_as_group) == (10001, 10002)
        assert pod.security_context.run_as_non_root


def test_defaults_reach_the_stages_that_say_nothing(package_with: PackageWith) -> None:
    found = pods(package_with(EVERYTHING))
    for label in OTHERS:
        assert [secret.secret_name for secret in found[label].image_pull_secret] == ["registry"]
        assert not found[label].tolerations


def test_resources_accelerator_and_retries_are_in_the_pipeline(package_with: PackageWith) -> None:
    package = package_with(EVERYTHING)
    for label in FIRST:
        resources = executors(package)[label]["resources"]
        assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("500m", "2")
        assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("1Gi", "2G")
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == "2"
        assert executors(package)[label]["env"] == [{"name": "MODE", "value": "quick"}]
    tasks = package.documents[0]["root"]["dag"]["tasks"]
    for name in ("first-stage", "first-stage-2"):
        assert tasks[name]["retryPolicy"] == {
            "maxRetryCount": 3, "backoffDuration": "30s", "backoffFactor": 1.5, "backoffMaxDuration": "600s",
        }  # fmt: skip
    assert "retryPolicy" not in tasks["second-stage-2"]


def test_a_task_inside_a_loop_gets_its_retries(package_with: PackageWith) -> None:
    spec = package_with("stages: {second_stage: {retry: {limit: 1}}}").documents[0]
    loop = next(component for name, component in spec["components"].items() if name.startswith("comp-for-loop"))
    assert loop["dag"]["tasks"]["second-stage"]["retryPolicy"]["maxRetryCount"] == 1


def test_the_outcome_is_what_the_sdk_writes_for_the_same_settings(package_with: PackageWith, tmp_path: Path) -> None:
    """The reference is a pipeline that sets everything with the SDK's own functions."""

    @dsl.pipeline(name="one")
    def plain(n: int) -> None:
        first_stage(n=n)

    @dsl.pipeline(name="one")
    def by_hand(n: int) -> None:
        task = first_stage(n=n)
        task.set_cpu_request("500m").set_cpu_limit("2").set_memory_request("1Gi").set_memory_limit("2G")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
        task.set_retry(3, backoff_duration="30s", backoff_factor=1.5, backoff_max_duration="600s")
        task.set_env_variable("MODE", "quick")
        kubernetes.add_node_selector(task, "pool", "gpu")
        kubernetes.add_toleration(task, key="gpu", operator="Exists", effect="NoSchedule")
        kubernetes.set_timeout(task, 5400)
        kubernetes.set_image_pull_secrets(task, ["registry"])
        kubernetes.add_ephemeral_volume(task, "scratch", "/scratch", ["ReadWriteOnce"], "50Gi")
        kubernetes.use_secret_as_env(task, "store", {"access-key": "AWS_ACCESS_KEY_ID"})
        kubernetes.use_secret_as_volume(task, "signing", "/etc/signing")

    values = """
stages:
  first_stage:
    resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, memory: 2G}}
    accelerator: {type: nvidia.com/gpu, count: 2}
    retry: {limit: 3, backoff: 30s, factor: 1.5, maxBackoff: 10m}
    env: {MODE: quick}
    nodeSelector: {pool: gpu}
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
    timeout: 5400
    imagePullSecrets: [registry]
    ephemeralVolumes: [{name: scratch, mountPath: /scratch, size: 50Gi}]
    secretEnv: {store: {access-key: AWS_ACCESS_KEY_ID}}
    secretVolumes: {signing: /etc/signing}
"""
    compiler.Compiler().compile(plain, str(tmp_path / "plain.yaml"))
    compiler.Compiler().compile(by_hand, str(tmp_path / "by_hand.yaml"))
    package = package_with(values, tmp_path / "plain.yaml")
    assert package.documents == list(yaml.safe_load_all((tmp_path / "by_hand.yaml").read_text()))


def test_a_secret_takes_the_place_of_what_the_pipeline_mounts_there(package_with: PackageWith, tmp_path: Path) -> None:
    @dsl.pipeline(name="one")
    def mounting(n: int) -> None:
        task = first_stage(n=n)
        kubernetes.use_secret_as_volume(task, "old", "/etc/signing")
        kubernetes.use_secret_as_volume(task, "other", "/etc/other")

    compiler.Compiler().compile(mounting, str(tmp_path / "mounting.yaml"))
    values = "stages: {first_stage: {secretVolumes: {signing: /etc/signing/}}}"
    (pod,) = pods(package_with(values, tmp_path / "mounting.yaml")).values()
    assert [(item.secret_name, item.mount_path) for item in pod.secret_as_volume] == [
        ("other", "/etc/other"), ("signing", "/etc/signing/"),
    ]  # fmt: skip


def test_a_run_on_this_machine_gives_a_stage_the_files_of_its_secret(
    package_with: PackageWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="reading")
    def reading() -> str:
        return read(path="/etc/trimtab-signing-test/minisign.key").output

    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    (tmp_path / "signing").mkdir()
    (tmp_path / "signing" / "minisign.key").write_text("a key")
    compiler.Compiler().compile(reading, str(tmp_path / "reading.yaml"))
    values = "stages: {read: {secretVolumes: {signing: /etc/trimtab-signing-test}}}"
    write_ir(package_with(values, tmp_path / "reading.yaml"), tmp_path / "ready.yaml")

    def run(**given: Path) -> RunResult:
        options = RunOptions(secrets=given)
        return run_pipeline(tmp_path / "ready.yaml", {}, options=options, listener=lambda event: None)

    # The runner writes a secret nowhere: that it hides what the task returned shows that the task has read it.
    assert run(signing=tmp_path / "signing").outputs["Output"] == "***"
    with pytest.raises(UserError, match="needs secret 'signing'"):
        run()


def test_a_cpu_request_sets_the_threads_of_a_stage_that_counts_them(package_with: PackageWith) -> None:
    optimize = COMPILED / "optimize.yaml"
    package = package_with("stages: {fine_tune: {resources: {requests: {cpu: 3500m}}}}", optimize)
    threads = {
        label: {item["name"]: item["value"] for item in container["env"]}["TRIMTAB_THREADS"]
        for label, container in executors(package).items()
    }
    assert (threads["exec-fine-tune"], threads["exec-fine-tune-2"]) == ("4", "4")
    assert threads["exec-backbone-selection"] == "2"


def test_a_request_above_its_limit_is_refused(package_with: PackageWith) -> None:
    optimize = COMPILED / "optimize.yaml"
    with pytest.raises(UserError, match=r"stage fine_tune: it would request 4G of memory with a limit of 2Gi"):
        package_with("stages: {fine_tune: {resources: {limits: {memory: 2Gi}}}}", optimize)


def test_the_local_runner_takes_the_result_and_warns_once(package_with: PackageWith, tmp_path: Path) -> None:
    write_ir(package_with(EVERYTHING), tmp_path / "ready.yaml")
    pipeline = read_pipeline(tmp_path / "ready.yaml")
    (warning,) = pipeline.warnings
    for key in ("nodeSelector", "tolerations", "imagePullSecret", "securityContext"):
        assert key in warning


def test_the_local_runner_says_nothing_of_our_own_user_and_tmp() -> None:
    pipeline = read_pipeline(COMPILED / "optimize.yaml")
    assert pipeline.warnings == ()


def test_settings_that_a_pipeline_has_already_are_kept(package_with: PackageWith, tmp_path: Path) -> None:
    @dsl.pipeline(name="one")
    def selective(n: int) -> None:
        kubernetes.add_node_selector(first_stage(n=n), "disk", "ssd")

    compiler.Compiler().compile(selective, str(tmp_path / "selective.yaml"))
    found: Any = pods(package_with("defaults: {nodeSelector: {pool: cpu}}", tmp_path / "selective.yaml"))
    assert dict(found["exec-first-stage"].node_selector.labels) == {"disk": "ssd", "pool": "cpu"}


def test_no_values_leave_the_pipeline_as_it_was(package_with: PackageWith, compiled: Path) -> None:
    assert package_with("").documents == list(yaml.safe_load_all(compiled.read_text()))


def test_our_own_stages_compile_to_a_user_that_is_not_root_and_foreign_ones_are_left_alone(
    package_with: PackageWith, tmp_path: Path
) -> None:
    ours = COMPILED / "optimize.yaml"
    found = pods(make_package(ours, images=Images(), values=None))
    assert len(found) >= 12
    for label, pod in found.items():
        user = pod.security_context
        assert (user.run_as_user, user.run_as_group, user.run_as_non_root) == (10001, 10001, True), label
    assert not any(pod.HasField("security_context") for pod in pods(package_with("defaults: {timeout: 1h}")).values())
    values = tmp_path / "values.yaml"
    values.write_text(
        "defaults: {timeout: 1h, securityContext: {}}\nstages: {export: {securityContext: {runAsUser: 7}}}"
    )
    chosen = pods(make_package(ours, images=Images(), values=values))
    assert not chosen["exec-prune"].HasField("security_context")
    user = chosen["exec-export"].security_context
    assert (user.run_as_user, user.run_as_group, user.run_as_non_root) == (7, 0, False)


def test_a_volume_of_the_values_takes_the_place_of_our_tmp(package_with: PackageWith) -> None:
    values = "stages: {export: {ephemeralVolumes: [{name: fast, mountPath: /tmp/, size: 1Gi}]}}"
    found = pods(package_with(values, COMPILED / "optimize.yaml"))
    assert not found["exec-export"].empty_dir_mounts
    assert [volume.volume_name for volume in found["exec-export"].generic_ephemeral_volume] == ["fast"]
    assert [mount.mount_path for mount in found["exec-prune"].empty_dir_mounts] == ["/tmp"]
