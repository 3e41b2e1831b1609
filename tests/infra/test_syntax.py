"""Cron expressions and quantities, read as KFP and Kubernetes read them."""

import pytest
from manifests.syntax import amount, cron_problem


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 3 * * 0", None),
        ("*/15 0-30/10 8-18 ? JAN,JUN-DEC MON-FRI", None),
        ("0 0 0 29 2 *", None),
        ("0 3 * * 0", "has 5 fields"),
        ("0 0 3 * * 0 2026", "has 7 fields"),
        ("60 0 3 * * 0", "'60' is no second"),
        ("0 0 24 * * 0", "'24' is no hour"),
        ("0 0 3 * * 7", "'7' is no day of week"),
        ("0 0 3 0 * *", "'0' is no day of month"),
        ("0 0 3 * * SUNDAY", "is no day of week"),
        ("0 0 5-3 * * *", "is no hour"),
        ("0 */0 3 * * *", "is no minute"),
        ("0 0, 3 * * *", "is no minute"),
        ("0 -5 3 * * *", "is no minute"),
        ("0 0 0 30 2 *", "a day that its months do not have"),
    ],
)
def test_cron_is_read_as_kfp_reads_it(expression: str, expected: str | None):
    problem = cron_problem(expression)

    assert problem is None if expected is None else expected in str(problem)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("500m", 0.5),
        ("2", 2),
        (1.5, 1.5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1Gi", 2**30),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1K", None),
        ("1GB", None),
        ("1 Gi", None),
        ("-1", None),
        ("", None),
    ],
)
def test_a_quantity_is_the_number_that_kubernetes_takes_it_for(quantity: object, expected: float | None):
    assert amount(quantity) == expected
