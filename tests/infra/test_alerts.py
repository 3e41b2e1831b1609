"""The alert rules, as far as they can be read without Prometheus."""

import re

import promql_parser
import pytest
from manifests.objects import Object, of_kind

# What Argo 3.6 and later give, with the labels that the rules may select by.
METRICS = {
    "argo_workflows_total_count": {"namespace", "phase"},
    "argo_workflows_pods_gauge": {"phase"},
    "argo_workflows_gauge": {"phase"},
}
PHASES = {"Pending", "Running", "Succeeded", "Failed", "Error"}


@pytest.fixture(scope="module")
def rules(rendered: dict[str, list[Object]]) -> list[Object]:
    (resource,) = of_kind(rendered["alerts"], "PrometheusRule")
    return [rule for group in resource["spec"]["groups"] for rule in group["rules"]]


def problems_of(expression: str) -> list[str]:
    """The faults of an expression: Prometheus does not read it, or Argo gives no such metric or label."""
    try:
        promql_parser.parse(expression)
    except ValueError as error:
        return [str(error)]
    problems = []
    for name, matchers in re.findall(r"(argo_\w+)(?:\{([^}]*)\})?", expression):
        if name not in METRICS:
            problems.append(f"Argo has no metric {name}")
            continue
        for label, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", matchers):
            if label not in METRICS[name]:
                problems.append(f"{name} has no label {label}")
            if label == "phase" and not set(value.split("|")) <= PHASES:
                problems.append(f"there is no phase {value}")
    return problems


def test_prometheus_can_read_every_rule(rules: list[Object]):
    assert [problem for rule in rules for problem in problems_of(rule["expr"])] == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum by (namespace (argo_workflows_gauge) > 0", "unclosed left parenthesis"),
        ("increase(argo_workflows_total_count) > 0", "expected type"),
        ('argo_workflows_count{status="Failed"} > 0', "Argo has no metric argo_workflows_count"),
        ('argo_workflows_gauge{status="Failed"} > 0', "argo_workflows_gauge has no label status"),
        ('argo_workflows_gauge{phase="failed"} > 0', "there is no phase failed"),
    ],
)
def test_a_rule_that_would_never_fire_is_refused(expression: str, expected: str):
    assert expected in "\n".join(problems_of(expression))


def test_a_failed_run_raises_an_alert(rules: list[Object]):
    failed = [rule for rule in rules if 'phase=~"Failed|Error"' in rule["expr"]]

    assert [rule["alert"] for rule in failed] == ["TrimtabRunFailed"]
    assert "for" not in failed[0], "a failure is over at once; a rule that waits for it to last never fires"


def test_the_rules_watch_the_namespace_that_they_are_in(rules: list[Object], rendered: dict[str, list[Object]]):
    (resource,) = of_kind(rendered["alerts"], "PrometheusRule")
    named = {name for rule in rules for name in re.findall(r'namespace="([^"]*)"', rule["expr"])}

    assert named == {resource["metadata"]["namespace"]}


def test_the_metrics_are_read_with_the_workflows_namespace(rendered: dict[str, list[Object]]):
    (monitor,) = of_kind(rendered["alerts"], "PodMonitor")

    # Without it the label is the controller's, and the workflow's is called exported_namespace.
    assert all(endpoint["honorLabels"] for endpoint in monitor["spec"]["podMetricsEndpoints"])
