"""The rights of a run's account: the calls of KFP's driver and launcher and of Argo's executor, and nothing besides."""

from collections.abc import Callable

import pytest
from manifests.objects import OVERLAYS, Object
from manifests.rights import may

Installation = Callable[[str], list[Object]]
RUNNER = "trimtab-runner"
ARGO = "argoproj.io"
CREDENTIALS = "trimtab-store-credentials"

# verb, resource, API group, name.
NEEDED = [
    ("get", "configmaps", "", "kfp-launcher"),
    ("get", "pods", "", "a-task"),
    ("list", "pods", "", ""),
    ("create", "workflowtaskresults", ARGO, ""),
    ("patch", "workflowtaskresults", ARGO, "a-task"),
    ("watch", "workflowtasksets", ARGO, ""),
    ("patch", "workflowtasksets/status", ARGO, "a-run"),
]
REFUSED = [
    ("list", "secrets", "", ""),
    ("get", "secrets", "", "mlpipeline-minio-artifact"),
    ("get", "configmaps", "", "workflow-controller-configmap"),
    ("update", "configmaps", "", "kfp-launcher"),
    ("create", "pods", "", ""),
    ("delete", "pods", "", "a-task"),
    ("create", "pods/exec", "", "a-task"),
    ("create", "workflows", ARGO, ""),
    ("create", "rolebindings", "rbac.authorization.k8s.io", ""),
    ("create", "serviceaccounts/token", "", RUNNER),
    ("create", "persistentvolumeclaims", "", ""),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    ("verb", "resource", "group", "name", "expected"),
    [(*needed, True) for needed in NEEDED] + [(*refused, False) for refused in REFUSED],
)
def test_a_run_may_do_what_it_needs_and_no_more(
    installation: Installation, overlay: str, verb: str, resource: str, group: str, name: str, expected: bool
):
    assert may(installation(overlay), RUNNER, verb, resource, group=group, name=name) is expected


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_run_reads_the_stores_key_where_there_is_one(installation: Installation, overlay: str):
    assert may(installation(overlay), RUNNER, "get", "secrets", name=CREDENTIALS) is (overlay != "aws")


@pytest.mark.parametrize("account", ["default", "trimtab-store"])
def test_nobody_else_is_given_anything(installation: Installation, account: str):
    objects = installation("dev")

    assert not any(
        may(objects, account, verb, resource, group=group, name=name) for verb, resource, group, name in NEEDED
    )
