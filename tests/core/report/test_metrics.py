"""Figures on a KFP metrics artifact."""

import numpy as np
from kfp import dsl

from components.core.report.metrics import log_metrics


def test_figures_are_rounded_and_named_after_their_recipe():
    metrics = dsl.Metrics(name="metrics", uri="", metadata={})
    facts = {
        "difference_points": -1.3333333333333286, "macs": 123456789, "share": np.float32(1 / 3), "loss": 1.23456789e-7,
        "count": np.int64(7), "meets_budget": True, "scheme": "int8", "unknown": None,
    }  # fmt: skip
    log_metrics(metrics, facts, recipe="60% MACs")
    assert metrics.metadata == {
        "recipe": "60% MACs", "difference_points": -1.3333, "macs": 123456789, "share": 0.33333, "loss": 1.2346e-07,
        "count": 7, "meets_budget": 1,
    }  # fmt: skip
    assert all(type(value) in (int, float, str) for value in metrics.metadata.values())


def test_what_must_be_said_of_the_data_stands_with_the_figures():
    metrics = dsl.Metrics(name="metrics", uri="", metadata={})
    log_metrics(metrics, {"miou": 0.5}, data="synthetic scenes")
    assert metrics.metadata == {"data": "synthetic scenes", "miou": 0.5}
