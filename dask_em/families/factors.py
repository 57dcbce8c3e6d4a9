"""Factors of covariances, and how one that has none is given one."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

__all__ = ["inverse_roots", "repaired", "upper_factor"]

Array = np.ndarray[Any, Any]
FLOOR = 1e-10  # of a correlation matrix: eigenvalues below it are not distinguishable from zero


def upper_factor(covariance: Array) -> Array:
    """Return the upper triangular U with Σ⁻¹ = U Uᵀ, (d, d); LinAlgError where Σ is not positive definite."""
    lower = np.linalg.cholesky(covariance)
    return np.asarray(solve_triangular(lower, np.eye(len(lower)), lower=True).T)


def inverse_roots(variances: Array) -> Array:
    """Return 1/σ; LinAlgError where a variance is not positive."""
    if not np.all(variances > 0):
        raise np.linalg.LinAlgError("a variance is not positive")
    return np.asarray(1 / np.sqrt(variances))


def repaired(covariance: Array, previous: Array) -> tuple[Array, bool]:
    """Return a covariance that has a factor, and whether it had none: correlations are lifted off the singular.

    A column without any variance takes its previous one.
    """
    dead = ~(np.diagonal(covariance) > 0)
    if dead.any():
        covariance = np.where(dead[:, None] | dead, np.diag(np.diagonal(previous)), covariance)
    scale = np.sqrt(np.diagonal(covariance))
    correlation = covariance / scale[:, None] / scale
    try:
        if np.diagonal(np.linalg.cholesky(correlation)).min() ** 2 > FLOOR:
            return covariance, bool(dead.any())
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(correlation)
    lifted = (vectors * np.maximum(values, FLOOR * len(values))) @ vectors.T
    return np.asarray(lifted * scale[:, None] * scale), True
