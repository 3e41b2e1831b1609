"""Does all that is named exist? In the manifests, in KFP's own installation, or in the list of users' secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from manifests.objects import INFRA, Object, containers, name_of, of_kind, pod_templates, walk

# What KFP and Kubernetes bring themselves, by kind.
_OF_OTHERS = {
    "ServiceAccount": {"default"},
    "Namespace": {"kubeflow", "kube-system", "monitoring"},
    # A selector that matches these selects something: labels of KFP's pods and of a run's.
    "Pod": [
        {"pipelines.kubeflow.org/v2_component": "true"},
        {"app.kubernetes.io/name": "trimtab-training"},
        {"app": "workflow-controller"},
        {"app": "ml-pipeline-ui"},
        {"k8s-app": "kube-dns"},
    ],
}
_IMAGE = re.compile(r"[a-z0-9./_-]+:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?|[a-z0-9./_-]+@sha256:[0-9a-f]{64}")


def user_secrets() -> dict[str, set[str]]:
    """Secrets that a user creates, with their keys: the table under "Secrets that you create" in infra/README.md."""
    section = (INFRA / "README.md").read_text().split("## Secrets that you create")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, flags=re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows}


def reference_problems(objects: list[Object]) -> list[str]:
    """Of a whole installation: an overlay and what is applied beside it."""
    there = _Known(objects)
    problems = []
    for name, pod in pod_templates(objects):
        problems += [f"{name}: {problem}" for problem in _pod_problems(pod, there)]
    problems += _of_roles(objects, there)
    problems += _of_namespaces(objects)
    problems += _of_selectors(objects)
    problems += _of_services(objects, there)
    problems += _of_launcher(objects, there)
    for schedule in of_kind(objects, "ScheduledWorkflow"):
        problems += there.missing(
            "ServiceAccount", schedule["spec"].get("serviceAccount", "default"), name_of(schedule)
        )
    return problems


class _Known:
    """Names that resolve, by kind, and the keys of secrets and config maps."""

    def __init__(self, objects: list[Object]):
        self.keys = {("Secret", name): keys for name, keys in user_secrets().items()}
        self.names = {(obj["kind"], obj["metadata"]["name"]) for obj in objects} | set(self.keys)
        for obj in of_kind(objects, "Secret", "ConfigMap"):
            self.keys[obj["kind"], obj["metadata"]["name"]] = {*obj.get("data", {}), *obj.get("stringData", {})}
        for obj in of_kind(objects, "StatefulSet"):
            for claim in obj["spec"].get("volumeClaimTemplates", []):
                self.names.add(("volume", claim["metadata"]["name"]))

    def missing(self, kind: str, name: str, where: str, *keys: str) -> list[str]:
        if (kind, name) not in self.names and name not in _OF_OTHERS.get(kind, ()):
            return [f"{where}: there is no {kind} {name}"]
        return [
            f"{where}: {kind} {name} has no key {key}" for key in keys if key not in self.keys.get((kind, name), {key})
        ]


def platform_problems(platform: Object, objects: list[Object]) -> list[str]:
    """The same for what a compiled pipeline's tasks name: secrets, config maps, claims, pull secrets."""
    there = _Known(objects)
    problems = []
    for path, value in walk(platform):
        for field, kind, name, key in (
            ("secretAsEnv", "Secret", "secretName", "secretKey"),
            ("secretAsVolume", "Secret", "secretName", ""),
            ("configMapAsEnv", "ConfigMap", "configMapName", "configMapKey"),
            ("configMapAsVolume", "ConfigMap", "configMapName", ""),
            ("imagePullSecret", "Secret", "secretName", ""),
            ("pvcMount", "PersistentVolumeClaim", "pvcName", ""),
        ):
            if path.rpartition(".")[2] != field:
                continue
            for entry in value:
                # Up to 2.13 the name itself, since then a value that may come from a parameter of the run.
                given = entry.get(name) or entry.get(f"{name}Parameter", {}).get("runtimeValue", {}).get("constant")
                # `optional` is the pipeline's word that it can do without.
                if given and not entry.get("optional"):
                    keys = [pair[key] for pair in entry.get("keyToEnv", [])] if key else []
                    problems += there.missing(kind, given, path, *keys)
    return problems


def _pod_problems(pod: Object, there: _Known) -> Iterator[str]:
    spec = pod["spec"]
    yield from there.missing("ServiceAccount", spec.get("serviceAccountName", "default"), "serviceAccountName")
    for secret in spec.get("imagePullSecrets", []):
        yield from there.missing("Secret", secret["name"], "imagePullSecrets")
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield from there.missing("Secret", volume["secret"]["secretName"], f"volume {volume['name']}")
        if "configMap" in volume:
            yield from there.missing("ConfigMap", volume["configMap"]["name"], f"volume {volume['name']}")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            yield from there.missing("PersistentVolumeClaim", claim, f"volume {volume['name']}")
    for container in containers(pod):
        where = f"container {container['name']}"
        image = container["image"]
        if not _IMAGE.fullmatch(image) or image.endswith(":latest"):
            yield f"{where}: image {image} is not pinned to a version"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes and ("volume", mount["name"]) not in there.names:
                yield f"{where}: there is no volume {mount['name']}"
        ports = {port.get("name") for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(port, str) and port not in ports:
                yield f"{where}: {probe} asks port {port}, which it does not have"
        for entry in container.get("env", []):
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                reference = entry.get("valueFrom", {}).get(field)
                if reference and not reference.get("optional"):
                    yield from there.missing(kind, reference["name"], f"{where}: {entry['name']}", reference["key"])
        for entry in container.get("envFrom", []):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if field in entry and not entry[field].get("optional"):
                    yield from there.missing(kind, entry[field]["name"], f"{where}: envFrom")


def _of_roles(objects: list[Object], there: _Known) -> Iterator[str]:
    for binding in of_kind(objects, "RoleBinding"):
        where = name_of(binding)
        if binding["roleRef"]["kind"] == "Role":
            yield from there.missing("Role", binding["roleRef"]["name"], where)
        for subject in binding["subjects"]:
            yield from there.missing("ServiceAccount", subject["name"], where)
            if subject.get("namespace") != binding["metadata"].get("namespace"):
                yield f"{where}: {subject['name']} is looked for in namespace {subject.get('namespace')}"
    for role in of_kind(objects, "Role"):
        for rule in role["rules"]:
            for resource, kind in (("secrets", "Secret"), ("configmaps", "ConfigMap")):
                if resource in rule.get("resources", []):
                    for name in rule.get("resourceNames", []):
                        yield from there.missing(kind, name, name_of(role))


def _of_namespaces(objects: list[Object]) -> Iterator[str]:
    used = {obj["metadata"].get("namespace") for obj in objects}
    for namespace in used - {None}:
        if namespace not in _OF_OTHERS["Namespace"] | {
            obj["metadata"]["name"] for obj in of_kind(objects, "Namespace")
        }:
            yield f"there is no namespace {namespace}"
    for obj in objects:
        if "namespace" not in obj["metadata"]:
            yield f"{name_of(obj)}: in no namespace"
    if len(used) > 1:
        yield f"in more than one namespace: {sorted(map(str, used))}"


def _of_selectors(objects: list[Object]) -> Iterator[str]:
    labels: list[Any] = [pod["metadata"].get("labels", {}) for _, pod in pod_templates(objects)]
    labels += _OF_OTHERS["Pod"]
    for obj in of_kind(objects, "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet", "PodMonitor"):
        for path, value in walk(obj["spec"]):
            *_, last = path.split(".")
            if last in ("podSelector", "selector") and value:
                wanted = value.get("matchLabels", value)
                if not any(wanted.items() <= have.items() for have in labels):
                    yield f"{name_of(obj)}: {path} selects no pod: {wanted}"
            if last == "namespaceSelector":
                namespace = value["matchLabels"]["kubernetes.io/metadata.name"]
                if namespace not in _OF_OTHERS["Namespace"]:
                    yield f"{name_of(obj)}: there is no namespace {namespace}"


def _of_services(objects: list[Object], there: _Known) -> Iterator[str]:
    services = {obj["metadata"]["name"]: obj for obj in of_kind(objects, "Service")}
    pods = [pod for _, pod in pod_templates(objects)]
    for service in services.values():
        for port in service["spec"]["ports"]:
            chosen = [pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
            names = {p.get("name") for pod in chosen for c in containers(pod) for p in c.get("ports", [])}
            if isinstance(port.get("targetPort"), str) and port["targetPort"] not in names:
                yield f"{name_of(service)}: no pod of it has a port {port['targetPort']}"
    for obj in of_kind(objects, "StatefulSet"):
        yield from there.missing("Service", obj["spec"]["serviceName"], name_of(obj))
    for obj in of_kind(objects, "ConfigMap"):
        for value in obj["data"].values():
            for name, namespace, port in re.findall(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc\.cluster\.local:(\d+)", value):
                yield from there.missing("Service", name, name_of(obj))
                known = services.get(name)
                if known and known["metadata"]["namespace"] != namespace:
                    yield f"{name_of(obj)}: Service {name} is not in namespace {namespace}"
                if known and int(port) not in {entry["port"] for entry in known["spec"]["ports"]}:
                    yield f"{name_of(obj)}: Service {name} has no port {port}"


def _of_launcher(objects: list[Object], there: _Known) -> Iterator[str]:
    for obj in of_kind(objects, "ConfigMap"):
        if obj["metadata"]["name"] != "kfp-launcher":
            continue
        for path, value in walk(yaml.safe_load(obj["data"]["providers"]) or {}):
            if path.endswith("secretRef"):
                keys = (value["accessKeyKey"], value["secretKeyKey"])
                yield from there.missing("Secret", value["secretName"], f"{name_of(obj)}: {path}", *keys)
