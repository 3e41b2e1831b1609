"""Who may do what by the manifests: rights in the cluster, and a pod's on its node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from manifests.objects import Object, containers, name_of, of_kind, pod_templates

_ESCALATING = {"bind", "escalate", "impersonate"}
_LISTING = {"list", "watch", "deletecollection"}
_TAKING_OVER = {"pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "serviceaccounts/token"}


def rights_problems(objects: list[Object]) -> list[str]:
    """Rights that no run needs: everything, anywhere, all secrets, other pods, more rights."""
    problems = [
        f"{name_of(obj)}: holds for the whole cluster" for obj in of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    ]
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        if binding["roleRef"]["kind"] == "ClusterRole":
            problems.append(f"{name_of(binding)}: takes the rights of the ClusterRole {binding['roleRef']['name']}")
        problems += [
            f"{name_of(binding)}: is for {subject['kind']} {subject['name']}, not for a service account"
            for subject in binding["subjects"]
            if subject["kind"] != "ServiceAccount"
        ]
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"]:
            problems += [f"{name_of(role)}: {problem}" for problem in _rule_problems(rule)]
    return problems


def _rule_problems(rule: Object) -> Iterator[str]:
    verbs, resources = set(rule["verbs"]), set(rule.get("resources", []))
    for field in ("verbs", "resources", "apiGroups", "nonResourceURLs", "resourceNames"):
        if any("*" in value for value in rule.get(field, [])):
            yield f"wildcard in {field}"
    for verb in sorted(verbs & _ESCALATING):
        yield f"may {verb}"
    if resources & _TAKING_OVER and verbs - {"get"}:
        yield f"may {sorted(verbs)} {sorted(resources & _TAKING_OVER)}"
    if "secrets" in resources and verbs & _LISTING:
        yield "may list secrets"
    if "secrets" in resources and not rule.get("resourceNames"):
        yield "may read secrets that it does not name"


def pod_problems(objects: list[Object]) -> list[str]:
    """Pods that could do more on their node than uid 10001 without capabilities, on a root that they cannot write."""
    return [f"{name}: {problem}" for name, pod in pod_templates(objects) for problem in pod_spec_problems(pod)]


def pod_spec_problems(pod: Object, *, only: str = "") -> list[str]:
    """Of one pod (`spec`); with `only`, of the container of that name alone."""
    spec, problems = pod["spec"], []
    own = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            problems.append(f"shares the node's {field[4:]}")
    problems += [
        f"volume {volume['name']} is a folder of the node" for volume in spec.get("volumes", []) if "hostPath" in volume
    ]
    for container in containers(pod):
        if only and container["name"] != only:
            continue
        context = own | container.get("securityContext", {})
        wanted: dict[str, tuple[Any, Any]] = {
            "runAsNonRoot": (context.get("runAsNonRoot"), True),
            "runAsUser": (context.get("runAsUser"), 10001),
            "seccomp profile": (context.get("seccompProfile", {}).get("type"), "RuntimeDefault"),
            "allowPrivilegeEscalation": (context.get("allowPrivilegeEscalation"), False),
            "readOnlyRootFilesystem": (context.get("readOnlyRootFilesystem"), True),
            "dropped capabilities": (context.get("capabilities", {}).get("drop"), ["ALL"]),
            "added capabilities": (context.get("capabilities", {}).get("add", []), []),
            "privileged": (context.get("privileged", False), False),
        }
        problems += [
            f"container {container['name']}: {what} is {found}, not {expected}"
            for what, (found, expected) in wanted.items()
            if found != expected
        ]
    return problems


def may(objects: list[Object], account: str, verb: str, resource: str, *, group: str = "", name: str = "") -> bool:
    """Whether a service account may do it, by the roles bound to it. A list or a watch has no name."""
    bound = {
        binding["roleRef"]["name"]
        for binding in of_kind(objects, "RoleBinding")
        if any(subject["name"] == account for subject in binding["subjects"])
    }
    return any(
        verb in rule["verbs"]
        and resource in rule["resources"]
        and group in rule["apiGroups"]
        and ("resourceNames" not in rule or name in rule["resourceNames"])
        for role in of_kind(objects, "Role")
        if role["metadata"]["name"] in bound
        for rule in role["rules"]
    )
