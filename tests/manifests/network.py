"""Connections that the network policies allow. As in Kubernetes, rules add up, and a pod that none selects is open."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from manifests.objects import Object, of_kind


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Somebody on the network: a pod (`namespace` and `labels`), or an `address` that is no pod's."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""


def reaches(objects: list[Object], source: Peer, target: Peer, port: int, *, protocol: str = "TCP") -> bool:
    """Whether a connection from `source` to `port` of `target` passes both sides' policies."""
    return _allows(objects, "egress", source, target, port, protocol) and _allows(
        objects, "ingress", target, source, port, protocol
    )


def _allows(objects: list[Object], direction: str, pod: Peer, other: Peer, port: int, protocol: str) -> bool:
    policies = [
        policy["spec"]
        for policy in of_kind(objects, "NetworkPolicy")
        if policy["metadata"]["namespace"] == pod.namespace
        and direction.capitalize() in policy["spec"]["policyTypes"]
        and _matches(policy["spec"]["podSelector"], pod.labels)
    ]
    return not policies or any(
        _rule_allows(rule, "to" if direction == "egress" else "from", pod.namespace, other, port, protocol)
        for policy in policies
        for rule in policy.get(direction, [])
    )


def _rule_allows(rule: Object, side: str, namespace: str, other: Peer, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    if ports and (protocol, port) not in {(entry.get("protocol", "TCP"), entry["port"]) for entry in ports}:
        return False
    return not rule.get(side) or any(_is_peer(entry, namespace, other) for entry in rule[side])


def _is_peer(entry: dict[str, Any], namespace: str, other: Peer) -> bool:
    if "ipBlock" in entry:
        if not other.address:
            return False
        address, block = ipaddress.ip_address(other.address), entry["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(hole) for hole in block.get("except", [])
        )
    if not other.namespace:
        return False
    if "namespaceSelector" in entry:
        if not _matches(entry["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != namespace:
        return False
    return _matches(entry.get("podSelector", {}), other.labels)


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, f"not worked out here: {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()
