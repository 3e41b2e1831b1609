import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from components.backbone_selection.logme import logme


def marginal_log_likelihood(features: np.ndarray, target: np.ndarray, alpha: float, beta: float) -> float:
    """log p(y | F, α, β) without any of the algebra under test: y ~ N(0, I/β + FFᵀ/α)."""
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    return float(multivariate_normal(mean=np.zeros(len(target)), cov=covariance).logpdf(target))


def reference(features: np.ndarray, labels: np.ndarray) -> float:
    """LogME by direct maximisation of the marginal likelihood over log α and log β."""
    best = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        result = minimize(
            lambda p, y=target: -marginal_log_likelihood(features, y, np.exp(p[0]), np.exp(p[1])),
            x0=(0.0, 0.0),
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000},
        )
        best.append(-result.fun)
    return float(np.mean(best)) / len(features)


@pytest.mark.parametrize(("samples", "dimensions"), [(40, 6), (15, 30)])
def test_value_is_the_maximum_of_the_marginal_likelihood(samples: int, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, samples)
    features = rng.normal(size=(samples, dimensions)) + np.eye(3, dimensions)[labels]
    assert logme(features, labels) == pytest.approx(reference(features, labels), abs=1e-5)


def test_repeated_columns_change_nothing_but_the_prior() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 30)
    features = rng.normal(size=(30, 4)) + labels[:, None]
    doubled = np.concatenate([features, features], axis=1) / np.sqrt(2)
    # F Fᵀ is the same, hence the marginal likelihood too; the doubled one is rank-deficient.
    assert logme(doubled, labels) == pytest.approx(logme(features, labels), abs=1e-9)


def test_features_that_explain_the_labels_score_higher() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 200)
    noise = rng.normal(size=(200, 16))
    scores = [logme(noise + strength * np.eye(4, 16)[labels], labels) for strength in (0.0, 1.0, 3.0)]
    assert scores == sorted(scores)
    assert scores[2] - scores[0] > 0.1


def test_perfect_and_useless_features_give_finite_values() -> None:
    labels = np.repeat([0, 1], 10)
    assert np.isfinite(logme(np.eye(2)[labels], labels))
    assert np.isfinite(logme(np.ones((20, 3)), labels))


@pytest.mark.parametrize(
    ("features", "labels"),
    [(np.ones((3, 2)), np.zeros(3, int)), (np.ones((3, 2)), np.zeros(2, int)), (np.full((2, 2), np.inf), np.arange(2))],
)
def test_unusable_input_is_refused(features: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"two classes|need|finite"):
        logme(features, labels)
