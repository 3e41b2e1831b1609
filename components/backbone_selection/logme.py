"""LogME: the evidence that labels are a noisy linear function of frozen features."""

import numpy as np
import torch

_MAX_ITERATIONS = 1000
_TOLERANCE = 1e-6


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Logarithm of maximum evidence per sample, mean over classes; higher promises better transfer.

    For each class c, y = 1[label = c] is modelled as y ~ N(F w, β⁻¹ I) with the prior w ~ N(0, α⁻¹ I). With
    A = αI + βFᵀF and m = βA⁻¹Fᵀy the evidence is

        log p(y | F, α, β) = n/2 log β + D/2 log α − n/2 log 2π − β/2 |Fm − y|² − α/2 |m|² − ½ log |A|,

    maximised by MacKay's fixed point γ = Σ βσ²/(α + βσ²), α ← γ/|m|², β ← (n − γ)/|Fm − y|², started at α = β = 1.
    You, Liu, Wang, Long 2021, arXiv:2102.11005; the fixed point after You et al. 2022, arXiv:2110.10545.

    Args:
        features: `(n, D)`, as the network gives them (not normalised).
        labels: `(n,)` class indices from 0; a class without a sample does not count.

    Raises:
        ValueError: other shapes, a single class, or features that are not finite.
    """
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ValueError(f"need (n, D) features and (n,) labels, got {features.shape} and {labels.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("LogME needs samples of at least two classes")
    squares, directions = _spectrum(features.astype(np.float64))
    evidences = []
    for label in classes:
        target = (labels == label).astype(np.float64)
        projections = np.square(directions.T @ target)
        evidences.append(_max_evidence(squares, projections, target @ target, *features.shape))
    return float(np.mean(evidences)) / len(features)


def _spectrum(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values σ² `(r,)` and left singular vectors `(n, r)`, r the numerical rank."""
    # Decomposed in torch: its threads are those that the stage sets, so the rounding is the same in every run.
    left, singular, _ = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(features), full_matrices=False))
    rank = int((singular > singular[0] * max(features.shape) * np.finfo(np.float64).eps).sum())
    return np.square(singular[:rank]), left[:, :rank]


def _max_evidence(squares: np.ndarray, projections: np.ndarray, target_square: float, n: int, dim: int) -> float:
    """Maximum of the log evidence; all that it needs of F and y are σ², (uᵀy)² and |y|²."""
    outside = max(target_square - projections.sum(), 0.0)
    alpha = beta = 1.0
    for _ in range(_MAX_ITERATIONS):
        gamma, m_square, residual = _fit(squares, projections, outside, alpha, beta)
        # A perfect fit, or a target that no feature explains, drives one of them to infinity: bounded instead.
        next_alpha = float(np.clip(gamma / max(m_square, 1e-300), 1e-12, 1e12))
        next_beta = float(np.clip((n - gamma) / max(residual, 1e-300), 1e-12, 1e12))
        change = abs(np.log(next_alpha / alpha)) + abs(np.log(next_beta / beta))
        alpha, beta = next_alpha, next_beta
        if change < _TOLERANCE:
            break
    _, m_square, residual = _fit(squares, projections, outside, alpha, beta)
    log_determinant = np.log(alpha + beta * squares).sum() + (dim - len(squares)) * np.log(alpha)
    return 0.5 * float(
        n * np.log(beta)
        + dim * np.log(alpha)
        - n * np.log(2 * np.pi)
        - beta * residual
        - alpha * m_square
        - log_determinant
    )


def _fit(
    squares: np.ndarray, projections: np.ndarray, outside: float, alpha: float, beta: float
) -> tuple[float, float, float]:
    """γ, |m|² and |Fm − y|² at (α, β)."""
    shrunk = alpha + beta * squares
    gamma = float((beta * squares / shrunk).sum())
    m_square = float((np.square(beta / shrunk) * squares * projections).sum())
    residual = float((np.square(alpha / shrunk) * projections).sum()) + outside
    return gamma, m_square, residual
