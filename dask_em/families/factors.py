"""Factors of covariances, and the bound that gives every one a factor."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

__all__ = ["floored", "inverse_roots", "least_variances", "upper_factor", "upper_factors"]

Array = np.ndarray[Any, Any]
FLOOR = 2e-13  # of the smallest variances so far: less in a direction is not distinguishable from none
RESOLVED = 1e-22  # of the data's squared half-range: a variance below it is rounding
ROUNDING = 4 * float(np.finfo(np.float64).eps)  # times d, of the variances: what a factorisation may lose


def upper_factor(covariance: Array) -> Array:
    """Return the upper triangular U with Σ⁻¹ = U Uᵀ, (d, d); LinAlgError where Σ is not positive definite."""
    return np.asarray(upper_factors(covariance[None])[0])


def upper_factors(covariances: Array) -> Array:
    """Return the same of several, (k, d, d)."""
    inverses = (dtrtri(lower, lower=1)[0] for lower in np.linalg.cholesky(covariances))  # solving costs five times this
    return np.stack([inverse.T for inverse in inverses])


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


def _is_less(ratio: Array) -> bool:
    """Return whether an eigenvalue of a symmetric matrix is below 1."""
    excess = ratio.copy()
    excess.ravel()[:: len(ratio) + 1] -= 1
    return bool(dpotrf(excess.T, clean=0, overwrite_a=1)[1] > 0)  # transposed, as LAPACK reads it: no copy


def floored(covariances: Array, least: Array) -> tuple[Array, Array]:
    """Return covariances (k, d, d) with no less than ``least`` (k, d) in any direction, and which had less, (k,).

    Of all Σ ⪰ M = diag(least), the one with the largest −log det Σ − tr Σ⁻¹S is S with its eigenvalues relative to M
    raised to 1: the M-step under that bound, so that EM stays monotone while a component collapses.
    """
    d = covariances.shape[-1]
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    scale = np.sqrt(np.maximum(least, ROUNDING * d * variances))  # or there would be no factor
    ratios = covariances / scale[:, :, None]
    ratios /= scale[:, None, :]
    less = np.array([_is_less(ratio) for ratio in ratios])
    if not less.any():
        return covariances, less
    raised = covariances.copy()
    for i in np.flatnonzero(less):
        values, vectors = np.linalg.eigh(ratios[i])
        root = vectors * np.sqrt(np.maximum(values, 1.0)) * scale[i, :, None]
        raised[i] = root @ root.T
    return raised, less
