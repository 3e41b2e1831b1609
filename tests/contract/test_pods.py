"""Every stage's pod, as far as kfp-kubernetes can say it; read back as KFP's back end reads it."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig, SecurityContext

from pipelines.cli.catalog import COMPILED
from pipelines.pods import RUN_AS


@pytest.mark.parametrize("path", sorted(COMPILED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_stage_is_not_root_and_has_a_tmp_that_a_read_only_root_needs(path: Path) -> None:
    spec, platform = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert configs.keys() == spec["deploymentSpec"]["executors"].keys()
    for label, config in configs.items():
        pod = json_format.ParseDict(config, KubernetesExecutorConfig())
        user = pod.security_context
        assert (user.run_as_user, user.run_as_group, user.run_as_non_root) == (10001, 10001, True), label
        assert [(volume.volume_name, volume.mount_path) for volume in pod.empty_dir_mounts] == [("trimtab-tmp", "/tmp")]


def test_kfp_kubernetes_has_no_further_word_for_a_pods_security() -> None:
    """If this fails, it has one by now: say it in `pipelines/pods.py`, and take it out of the controller's defaults."""
    assert {field.name for field in SecurityContext.DESCRIPTOR.fields} == RUN_AS.keys()
    said = {field.name for field in KubernetesExecutorConfig.DESCRIPTOR.fields}
    assert not [name for name in said if any(word in name for word in ("seccomp", "root", "privilege", "capabilit"))]
