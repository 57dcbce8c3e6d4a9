"""Factors of covariances, and the bound that gives every one a factor."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg.lapack import dtrtri

__all__ = ["floored", "inverse_roots", "least_variances", "upper_factor"]

Array = np.ndarray[Any, Any]
FLOOR = 2e-13  # of the smallest variances so far: less in a direction is not distinguishable from none
RESOLVED = 1e-22  # of the data's squared half-range: a variance below it is rounding
ROUNDING = 4 * float(np.finfo(np.float64).eps)  # times d, of the variances: what a factorisation may lose


def upper_factor(covariance: Array) -> Array:
    """Return the upper triangular U with Σ⁻¹ = U Uᵀ, (d, d); LinAlgError where Σ is not positive definite."""
    inverse, _ = dtrtri(np.linalg.cholesky(covariance), lower=1)  # called alone, it costs a fifth of solve_triangular
    return np.asarray(inverse.T)


def inverse_roots(variances: Array) -> Array:
    """Return 1/σ; LinAlgError where a variance is not positive."""
    if not np.all(variances > 0):
        raise np.linalg.LinAlgError("a variance is not positive")
    return np.asarray(1 / np.sqrt(variances))


def least_variances(narrowest: Array, extent: Array) -> Array:
    """Return the variances below which a component has collapsed, (k, d).

    ``narrowest`` (k, d) are the smallest variances that the components have had, ``extent`` (d,) the squared half-range
    of the data: both never grow, so that a bound once met stays met.
    """
    return np.asarray(np.maximum(FLOOR * narrowest, RESOLVED * extent))


def floored(covariance: Array, least: Array) -> tuple[Array, bool]:
    """Return the covariance with no less than ``least`` (d,) in any direction, and whether it had less.

    Of all Σ ⪰ M = diag(least), the one with the largest −log det Σ − tr Σ⁻¹S is S with its eigenvalues relative to M
    raised to 1: the M-step under that bound, so that EM stays monotone while a component collapses.
    """
    least = np.maximum(least, ROUNDING * len(least) * np.diagonal(covariance))  # or it would have no factor
    scale = np.sqrt(least)
    ratio = covariance / scale[:, None] / scale
    try:
        np.linalg.cholesky(ratio - np.eye(len(ratio)))
        return covariance, False
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(ratio)
        root = vectors * np.sqrt(np.maximum(values, 1.0)) * scale[:, None]
        return np.asarray(root @ root.T), True
