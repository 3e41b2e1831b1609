"""Every overlay, with what is applied beside it, passes every check."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from manifests.objects import INFRA, OVERLAYS, Object, of_kind, render
from manifests.references import reference_problems
from manifests.rights import pod_problems, rights_problems
from manifests.shape import shape_problems
from manifests.store import store_problems
from manifests.syntax import cron_problems, quantity_problems

# The oldest and the newest that KFP's own end-to-end tests run on (1.29, 1.34), one between, and the newest with
# schemas: what it has dropped must not be in use.
KUBERNETES = ["1.29", "1.32", "1.34", "1.37"]
Installation = Callable[[str], list[Object]]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(installation: Installation, overlay: str, version: str):
    assert shape_problems(installation(overlay), version=version) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    "check", [reference_problems, rights_problems, pod_problems, cron_problems, quantity_problems, store_problems]
)
def test_nothing_is_wrong(installation: Installation, overlay: str, check: Callable[[list[Object]], list[str]]):
    assert check(installation(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_manifests(installation: Installation, overlay: str):
    assert list(of_kind(installation(overlay), "Secret")) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_says_what_it_belongs_to(installation: Installation, overlay: str):
    for obj in installation(overlay):
        assert obj["metadata"]["labels"]["app.kubernetes.io/part-of"] == "trimtab"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_the_parts_that_every_run_needs(installation: Installation, overlay: str):
    found = {obj["kind"] for obj in installation(overlay)}

    assert found >= {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ConfigMap",
        "NetworkPolicy",
        "ResourceQuota",
        "LimitRange",
    }


def test_an_overlay_moves_to_another_namespace_as_a_whole(tmp_path: Path):
    overlay = os.path.relpath(INFRA / "overlays" / "generic-s3", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"namespace: team\nresources: [{overlay}]\n")

    objects = render(tmp_path)

    assert {obj["metadata"]["namespace"] for obj in objects} == {"team"}
    assert {subject["namespace"] for binding in of_kind(objects, "RoleBinding") for subject in binding["subjects"]} == {
        "team"
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("resources: [../missing]", "missing"),
        ("resource: [x]", "unknown field"),
        ("patches: [{patch: '{kind: ConfigMap, apiVersion: v1, metadata: {name: gone}}'}]", "gone"),
    ],
)
def test_an_overlay_that_does_not_render_says_why(tmp_path: Path, content: str, expected: str):
    (tmp_path / "kustomization.yaml").write_text(content)

    with pytest.raises(RuntimeError, match=expected):
        render(tmp_path)
