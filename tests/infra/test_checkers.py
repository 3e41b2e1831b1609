"""Each check refuses a manifest that is broken in its way; without this, test_overlays.py would mean nothing."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from manifests.objects import Object, name_of
from manifests.references import reference_problems
from manifests.rights import pod_problems, rights_problems
from manifests.shape import shape_problems
from manifests.store import store_problems
from manifests.syntax import cron_problems, quantity_problems

Break = Callable[[dict[str, Object]], Any]
STORE_POD = "StatefulSet/trimtab-store"
shape_1_34 = functools.partial(shape_problems, version="1.34")


def pod(by_name: dict[str, Object]) -> Object:
    return by_name[STORE_POD]["spec"]["template"]["spec"]


def container(by_name: dict[str, Object]) -> Object:
    return pod(by_name)["containers"][0]


def rule(by_name: dict[str, Object], **changes: Any) -> None:
    by_name["Role/trimtab-runner"]["rules"].append(
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]} | changes
    )


def alert(by_name: dict[str, Object]) -> Object:
    return by_name["PrometheusRule/trimtab"]["spec"]["groups"][0]["rules"][0]


def providers(by_name: dict[str, Object], old: str, new: str) -> None:
    data = by_name["ConfigMap/kfp-launcher"]["data"]
    assert old in data["providers"]
    data["providers"] = data["providers"].replace(old, new)


def schedule(by_name: dict[str, Object]) -> Object:
    return by_name["ScheduledWorkflow/trimtab-weekly"]["spec"]


BROKEN: dict[str, tuple[Callable[[list[Object]], list[str]], Break, str]] = {
    # shape: Kubernetes' kinds
    "a field that does not exist": (shape_1_34, lambda o: pod(o).update(restartPolicies="Never"), "restartPolicies"),
    "a number where a text belongs": (shape_1_34, lambda o: container(o).update(image=4), "4 is not of type 'string'"),
    "a required field is missing": (
        shape_1_34,
        lambda o: o[STORE_POD]["spec"].pop("selector"),
        "'selector' is a required",
    ),
    "an API that is gone": (
        shape_1_34,
        lambda o: o["ResourceQuota/trimtab-runs"].update(apiVersion="policy/v1beta1"),
        "Kubernetes 1.34 knows no ResourceQuota of policy/v1beta1",
    ),
    # shape: custom resources
    "a kind without a schema": (
        shape_1_34,
        lambda o: o["PodMonitor/trimtab-workflow-controller"].update(kind="Probe"),
        "no schema for Probe",
    ),
    "a schedule's misspelt field": (
        shape_1_34,
        lambda o: schedule(o).update(noCatchUp=True),
        "'noCatchUp' was unexpected",
    ),
    "too many runs at once": (shape_1_34, lambda o: schedule(o).update(maxConcurrency=11), "11 is greater than"),
    "a schedule of nothing": (shape_1_34, lambda o: schedule(o).pop("pipelineId"), "not valid under any"),
    "a name for an id": (shape_1_34, lambda o: schedule(o).update(pipelineId="optimize"), "does not match"),
    "a schedule with two triggers": (
        shape_1_34,
        lambda o: schedule(o)["trigger"].update(periodicSchedule={"intervalSecond": 60}),
        "trigger",
    ),
    "an alert without a severity": (shape_1_34, lambda o: alert(o)["labels"].clear(), "'severity' is a required"),
    "a duration in words": (shape_1_34, lambda o: alert(o).update({"for": "30 minutes"}), "does not match"),
    # cron and quantities
    "cron without seconds": (
        cron_problems,
        lambda o: schedule(o)["trigger"]["cronSchedule"].update(cron="0 3 * * 0"),
        "has 5 fields; KFP takes 6",
    ),
    "decimal megabytes": (
        quantity_problems,
        lambda o: container(o)["resources"]["limits"].update(memory="2GB"),
        "'2GB'",
    ),
    "thousandths of a byte": (
        quantity_problems,
        lambda o: container(o)["resources"]["limits"].update(memory="512m"),
        "thousandths",
    ),
    "a quota in words": (
        quantity_problems,
        lambda o: o["ResourceQuota/trimtab-runs"]["spec"]["hard"].update({"requests.storage": "2 Ti"}),
        "'2 Ti' is not a quantity",
    ),
    "a request over its limit": (
        quantity_problems,
        lambda o: container(o)["resources"]["requests"].update(cpu="3"),
        "over its limit",
    ),
    "a default over the maximum": (
        quantity_problems,
        lambda o: o["LimitRange/trimtab-runs"]["spec"]["limits"][0]["defaultRequest"].update(memory="1Ti"),
        "over max",
    ),
    "a temporary folder of no size": (
        quantity_problems,
        lambda o: pod(o)["volumes"][0]["emptyDir"].update(sizeLimit="much"),
        "'much' is not a quantity",
    ),
    # references
    "an account that nobody makes": (
        reference_problems,
        lambda o: pod(o).update(serviceAccountName="robot"),
        "ServiceAccount robot",
    ),
    "a secret that nobody makes": (
        reference_problems,
        lambda o: container(o)["env"][0]["valueFrom"]["secretKeyRef"].update(name="keys"),
        "there is no Secret keys",
    ),
    "a key that the secret has not": (
        reference_problems,
        lambda o: container(o)["env"][0]["valueFrom"]["secretKeyRef"].update(key="ACCESS"),
        "has no key ACCESS",
    ),
    "a config map that is not there": (
        reference_problems,
        lambda o: container(o).update(envFrom=[{"configMapRef": {"name": "settings"}}]),
        "there is no ConfigMap settings",
    ),
    "a claim that nobody makes": (
        reference_problems,
        lambda o: pod(o)["volumes"].append({"name": "x", "persistentVolumeClaim": {"claimName": "disk"}}),
        "there is no PersistentVolumeClaim disk",
    ),
    "a mount of no volume": (
        reference_problems,
        lambda o: container(o)["volumeMounts"].append({"name": "cache", "mountPath": "/cache"}),
        "there is no volume cache",
    ),
    "an image without a version": (
        reference_problems,
        lambda o: container(o).update(image="chrislusf/seaweedfs"),
        "not pinned",
    ),
    "the latest image": (
        reference_problems,
        lambda o: container(o).update(image="chrislusf/seaweedfs:latest"),
        "not pinned",
    ),
    "a pull secret that nobody makes": (
        reference_problems,
        lambda o: pod(o).update(imagePullSecrets=[{"name": "registry"}]),
        "there is no Secret registry",
    ),
    "another namespace for one object": (
        reference_problems,
        lambda o: o["ConfigMap/trimtab-store"]["metadata"].update(namespace="kube-system"),
        "in more than one namespace",
    ),
    "no namespace": (
        reference_problems,
        lambda o: o["ConfigMap/trimtab-store"]["metadata"].pop("namespace"),
        "in no namespace",
    ),
    "a role that is not there": (
        reference_problems,
        lambda o: o["RoleBinding/trimtab-runner"]["roleRef"].update(name="runner"),
        "there is no Role runner",
    ),
    "rights for another namespace's account": (
        reference_problems,
        lambda o: o["RoleBinding/trimtab-runner"]["subjects"][0].update(namespace="team"),
        "is looked for in namespace team",
    ),
    "rights to a secret that is not there": (
        reference_problems,
        lambda o: o["Role/trimtab-store-credentials"]["rules"][0].update(resourceNames=["keys"]),
        "there is no Secret keys",
    ),
    "a policy for no pod": (
        reference_problems,
        lambda o: o["NetworkPolicy/trimtab-runs"]["spec"]["podSelector"].update(matchLabels={"app": "trimtab"}),
        "selects no pod",
    ),
    "a policy towards no namespace": (
        reference_problems,
        lambda o: o["NetworkPolicy/trimtab-runs"]["spec"]["egress"][1]["to"][0]["namespaceSelector"].update(
            matchLabels={"kubernetes.io/metadata.name": "kubeflw"}
        ),
        "there is no namespace kubeflw",
    ),
    "a service of no pod": (
        reference_problems,
        lambda o: o["Service/trimtab-store"]["spec"].update(selector={"app": "store"}),
        "selects no pod",
    ),
    "a service's port that no pod has": (
        reference_problems,
        lambda o: o["Service/trimtab-store"]["spec"]["ports"][0].update(targetPort="http"),
        "no pod of it has a port http",
    ),
    "a probe of no port": (
        reference_problems,
        lambda o: container(o)["readinessProbe"]["httpGet"].update(port="http"),
        "which it does not have",
    ),
    "a host that does not exist": (
        reference_problems,
        lambda o: providers(o, "trimtab-store.kubeflow.svc", "store.kubeflow.svc"),
        "there is no Service store",
    ),
    "a port that the service has not": (
        reference_problems,
        lambda o: providers(o, ":8333", ":9000"),
        "has no port 9000",
    ),
    "a host of another namespace": (
        reference_problems,
        lambda o: providers(o, ".kubeflow.svc", ".team.svc"),
        "is not in namespace team",
    ),
    "the launcher's secret is not there": (
        reference_problems,
        lambda o: providers(o, "secretName: trimtab-store-credentials", "secretName: keys"),
        "there is no Secret keys",
    ),
    "the launcher's key is not there": (
        reference_problems,
        lambda o: providers(o, "secretKeyKey: AWS_SECRET_ACCESS_KEY", "secretKeyKey: secretkey"),
        "has no key secretkey",
    ),
    "a schedule for no account": (
        reference_problems,
        lambda o: schedule(o).update(serviceAccount="robot"),
        "ServiceAccount robot",
    ),
    # rights
    "every verb": (rights_problems, lambda o: rule(o, verbs=["*"]), "wildcard in verbs"),
    "every resource": (rights_problems, lambda o: rule(o, resources=["*"]), "wildcard in resources"),
    "every API": (rights_problems, lambda o: rule(o, apiGroups=["*"]), "wildcard in apiGroups"),
    "all secrets listed": (
        rights_problems,
        lambda o: rule(o, resources=["secrets"], verbs=["list"], resourceNames=["a"]),
        "may list secrets",
    ),
    "all secrets read": (rights_problems, lambda o: rule(o, resources=["secrets"]), "secrets that it does not name"),
    "into other pods": (rights_problems, lambda o: rule(o, resources=["pods/exec"], verbs=["create"]), "pods/exec"),
    "more rights for itself": (rights_problems, lambda o: rule(o, resources=["roles"], verbs=["bind"]), "may bind"),
    "the administrator": (
        rights_problems,
        lambda o: o["RoleBinding/trimtab-runner"].update(roleRef={"kind": "ClusterRole", "name": "cluster-admin"}),
        "the ClusterRole cluster-admin",
    ),
    "the whole cluster": (
        rights_problems,
        lambda o: o["RoleBinding/trimtab-runner"].update(kind="ClusterRoleBinding"),
        "holds for the whole cluster",
    ),
    "rights for everybody": (
        rights_problems,
        lambda o: o["RoleBinding/trimtab-runner"]["subjects"][0].update(kind="Group", name="system:authenticated"),
        "is for Group system:authenticated",
    ),
    # pods
    "root": (pod_problems, lambda o: pod(o)["securityContext"].update(runAsUser=0), "runAsUser is 0, not 10001"),
    "perhaps root": (pod_problems, lambda o: pod(o)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot is None"),
    "root in the container": (
        pod_problems,
        lambda o: container(o)["securityContext"].update(runAsUser=0),
        "runAsUser is 0",
    ),
    "no seccomp": (pod_problems, lambda o: pod(o)["securityContext"].pop("seccompProfile"), "seccomp profile is None"),
    "a writable root": (
        pod_problems,
        lambda o: container(o)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem is False",
    ),
    "capabilities": (
        pod_problems,
        lambda o: container(o)["securityContext"].pop("capabilities"),
        "dropped capabilities is None",
    ),
    "an added capability": (
        pod_problems,
        lambda o: container(o)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "added capabilities",
    ),
    "a folder of the node": (
        pod_problems,
        lambda o: pod(o)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "volume host is a folder of the node",
    ),
    "the node's network": (pod_problems, lambda o: pod(o).update(hostNetwork=True), "shares the node's Network"),
    # store
    "a bucket changed in one place": (
        store_problems,
        lambda o: o["ConfigMap/trimtab-store"]["data"].update(TRIMTAB_STORE="s3://mine/store"),
        "bucket: kfp-launcher says trimtab, trimtab-store mine",
    ),
    "an endpoint changed in one place": (
        store_problems,
        lambda o: o["ConfigMap/trimtab-store"]["data"].update(AWS_ENDPOINT_URL_S3="http://other:8333"),
        "endpoint: kfp-launcher says",
    ),
    "TLS on one side": (store_problems, lambda o: providers(o, "disableSSL: true", "disableSSL: false"), "TLS: "),
    "a bucket without a prefix": (
        store_problems,
        lambda o: o["ConfigMap/trimtab-store"]["data"].update(TRIMTAB_STORE="s3://trimtab"),
        "is not s3://bucket/prefix",
    ),
    "one prefix for both": (
        store_problems,
        lambda o: o["ConfigMap/trimtab-store"]["data"].update(TRIMTAB_STORE="s3://trimtab/kfp"),
        "share a prefix",
    ),
    "a key in the launcher's settings": (
        store_problems,
        lambda o: providers(o, "fromEnv: false", "fromEnv: false\n      accessKey: AKIA"),
        "providers.s3.default.credentials",
    ),
    "an endpoint with a scheme": (
        store_problems,
        lambda o: providers(o, "endpoint: ", "endpoint: http://"),
        "does not match",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_manifest_is_refused(installation: Callable[[str], list[Object]], what: str):
    check, break_it, expected = BROKEN[what]
    objects = installation("dev")

    break_it({name_of(obj): obj for obj in objects})

    assert expected in "\n".join(check(objects))
