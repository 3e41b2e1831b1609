"""Who may talk to whom, worked out from the network policies of each overlay."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from manifests.network import Peer, reaches
from manifests.objects import INFRA, OVERLAYS, Object, name_of, render

Installation = Callable[[str], list[Object]]

TASK = Peer(namespace="kubeflow", labels={"pipelines.kubeflow.org/v2_component": "true"})
TRAINING = Peer(namespace="kubeflow", labels={"app.kubernetes.io/name": "trimtab-training"})
KFP_API = Peer(namespace="kubeflow", labels={"app": "ml-pipeline"})
KFP_UI = Peer(namespace="kubeflow", labels={"app": "ml-pipeline-ui"})
STORE = Peer(namespace="kubeflow", labels={"app.kubernetes.io/name": "trimtab-store"})
CONTROLLER = Peer(namespace="kubeflow", labels={"app": "workflow-controller"})
PROMETHEUS = Peer(namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"})
DNS = Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"})
STRANGER = Peer(namespace="team", labels={"app": "notebook"})
NEIGHBOUR = Peer(namespace="kubeflow", labels={"app": "mysql"})
API_SERVER = Peer(address="192.0.2.10")
"""Where the overlays say that it is, until somebody writes down where."""
INTERNET = Peer(address="203.0.113.7")
NODE_METADATA = Peer(address="169.254.169.254")
EVERYWHERE = [
    ("a task finds names", TASK, DNS, 53, True),
    ("a task reports to KFP", TASK, KFP_API, 8887, True),
    ("a task asks the Kubernetes API", TASK, API_SERVER, 443, True),
    ("a task does not become its node", TASK, NODE_METADATA, 80, False),
    ("nor by HTTPS", TASK, NODE_METADATA, 443, False),
    ("a task sends nothing in the clear", TASK, INTERNET, 80, False),
    ("a task does not log in elsewhere", TASK, API_SERVER, 22, False),
    ("a task leaves other teams alone", TASK, STRANGER, 8080, False),
    ("a task leaves KFP's database alone", TASK, NEIGHBOUR, 3306, False),
    ("nobody connects to a task", STRANGER, TASK, 8080, False),
    ("nor a neighbour", NEIGHBOUR, TASK, 8080, False),
    ("nodes that train meet", TRAINING, TRAINING, 29500, True),
    ("and talk on any port", TRAINING, TRAINING, 41234, True),
    ("a node that trains finds names", TRAINING, DNS, 53, True),
    ("and asks nothing of KFP", TRAINING, KFP_API, 8887, False),
    ("nor does it become its node", TRAINING, NODE_METADATA, 443, False),
    ("a neighbour does not join in", NEIGHBOUR, TRAINING, 29500, False),
    ("nor does a task", TASK, TRAINING, 29500, False),
    ("Prometheus reads Argo's metrics", PROMETHEUS, CONTROLLER, 9090, True),
    ("and nobody else", STRANGER, CONTROLLER, 9090, False),
]
PRIVATE = ["10.0.0.5", "10.96.0.1", "100.64.0.9", "169.254.169.254", "169.254.170.23", "172.18.0.2", "192.168.1.1"]
DEV = [
    ("a task reaches the store", TASK, STORE, 8333, True),
    ("so does a node that trains", TRAINING, STORE, 8333, True),
    ("which asks nothing of Kubernetes", TRAINING, API_SERVER, 443, False),
    ("at neither port", TRAINING, API_SERVER, 6443, False),
    ("and the store does not call it", STORE, TRAINING, 29500, False),
    ("KFP's interface previews artifacts", KFP_UI, STORE, 8333, True),
    ("the store's other parts have no password", TASK, STORE, 9333, False),
    ("other teams do not reach it", STRANGER, STORE, 8333, False),
    ("nor a neighbour", NEIGHBOUR, STORE, 8333, False),
    ("the store calls nobody", STORE, INTERNET, 443, False),
    ("a task stays in the cluster", TASK, INTERNET, 443, False),
]
ELSEWHERE = [
    ("a task reaches the store outside", TASK, INTERNET, 443, True),
    ("so does a node that trains", TRAINING, INTERNET, 443, True),
    ("but not in the clear", TRAINING, INTERNET, 80, False),
]
CASES = [(overlay, *case) for overlay in OVERLAYS for case in EVERYWHERE + (DEV if overlay == "dev" else ELSEWHERE)]


@pytest.mark.parametrize(
    ("overlay", "source", "target", "port", "expected"),
    [(overlay, *rest) for overlay, _, *rest in CASES],
    ids=[f"{overlay}: {what}" for overlay, what, *_ in CASES],
)
def test_the_policies_let_through(
    installation: Installation, overlay: str, source: Peer, target: Peer, port: int, expected: bool
):
    protocol = "UDP" if target == DNS else "TCP"

    assert reaches(installation(overlay), source, target, port, protocol=protocol) is expected


@pytest.mark.parametrize(
    ("without", "target", "port"),
    [({"trimtab-runs", "trimtab-kubernetes-api"}, INTERNET, 80), ({"trimtab-store"}, STORE, 9333)],
    ids=["runs", "store"],
)
def test_it_is_the_policy_that_holds(installation: Installation, without: set[str], target: Peer, port: int):
    left = [obj for obj in installation("dev") if name_of(obj) not in {f"NetworkPolicy/{name}" for name in without}]
    source = TASK if target == INTERNET else NEIGHBOUR

    assert reaches(left, source, target, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("source", [TASK, TRAINING], ids=["task", "training"])
def test_nothing_private_is_reached(installation: Installation, overlay: str, source: Peer):
    objects = installation(overlay)
    for address in PRIVATE:
        for port in (22, 53, 80, 443, 2049, 6443, 8080, 8333, 8888, 9000, 10250):
            assert not reaches(objects, source, Peer(address=address), port), (address, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_address_that_is_told_is_reached_and_no_other(tmp_path: Path, overlay: str):
    there = os.path.relpath(INFRA / "overlays" / overlay, tmp_path.resolve())
    told = '[{"op": "replace", "path": "/spec/egress/0/to", "value": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}]'
    store = '[{"op": "add", "path": "/spec/egress/0/to/-", "value": {"ipBlock": {"cidr": "10.0.7.0/28"}}}]'
    patches = {"trimtab-kubernetes-api": told} | ({} if overlay == "dev" else {"trimtab-store-egress": store})
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{there}]\npatches:\n"
        + "".join(f"  - {{target: {{name: {name}}}, patch: '{patch}'}}\n" for name, patch in patches.items())
    )
    objects = render(tmp_path)
    for port in (443, 6443):
        assert reaches(objects, TASK, Peer(address="10.0.0.5"), port)
        assert not reaches(objects, TASK, Peer(address="10.0.0.6"), port)
    assert not reaches(objects, TASK, API_SERVER, 6443), "what stood there before"
    assert reaches(objects, TASK, Peer(address="10.0.7.3"), 443) is (overlay != "dev")
    assert not reaches(objects, TASK, Peer(address="10.0.7.16"), 443)


def test_a_hole_in_a_block_is_a_hole(installation: Installation):
    objects = installation("aws")
    (policy,) = (obj for obj in objects if name_of(obj) == "NetworkPolicy/trimtab-store-egress")
    del policy["spec"]["egress"][0]["to"][0]["ipBlock"]["except"]

    assert reaches(objects, TASK, NODE_METADATA, 443)
