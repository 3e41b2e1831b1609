"""Quantities of Kubernetes as numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UserError
from pipelines.quantities import num_bytes, num_cores

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity
UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


@pytest.mark.parametrize(("text", "cores"), [("2", 2.0), ("500m", 0.5), ("0.25", 0.25), ("1e1", 10.0), (".5", 0.5)])
def test_cpu_is_in_cores(text: str, cores: float) -> None:
    assert num_cores(text, "x") == cores


@given(number=st.decimals(min_value=0, max_value=10**6, places=3), unit=st.sampled_from(list(UNITS)))
def test_a_suffix_is_the_factor_that_kubernetes_documents(number: Decimal, unit: str) -> None:
    assert num_bytes(f"{number:f}{unit}", "x") == float(number * UNITS[unit])


@pytest.mark.parametrize(
    "text", ["", "two", "1Q", "1..2", "-1", "1_000", "NaN", "Infinity", "1 G", "512m", "4GB", "1ki"]
)
def test_what_is_no_quantity_of_memory_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UserError, match=r"^executor 'e': "):
        num_bytes(text, "executor 'e'")


@pytest.mark.parametrize("text", ["", "2x", "1G", "512Mi", "-1", "1e9999"])
def test_what_is_no_quantity_of_cpu_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UserError, match=r"^stage prune: "):
        num_cores(text, "stage prune")
