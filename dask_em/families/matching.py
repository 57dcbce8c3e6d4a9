"""Which of the components that a start has found makes room for which of those that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import rel_entr

from dask_em.families.covariances import Covariance
from dask_em.families.factors import upper_factor
from dask_em.families.gaussian import GaussianParameters

__all__ = ["places"]

Array = np.ndarray[Any, Any]
MOST = 1e200  # of a loss: their sum stays finite


def places(
    covariance: Covariance, found: GaussianParameters, given: GaussianParameters, shares: Array, weights: Array
) -> Array:
    """Return, for each place, the number of the found component that begins there, (k,).

    ``shares`` (k,) are the weights found, ``weights`` those given; what was not given is NaN. A component of which
    something is given takes the place of the found one that it costs the least to replace, over all of them: the rows
    of that one lose as much log-likelihood as the Kullback-Leibler divergence from it says, of their density and of
    their weight. So a known class takes its own cluster, a background one that is not dense, and no row is assigned.
    """
    k, d = found.means.shape
    dense = covariance.dense(given.covariances, k, d)
    known = ~(np.isnan(weights) & np.isnan(given.means).any(axis=1) & np.isnan(dense).any(axis=(1, 2)))
    anchored = np.flatnonzero(known)
    if not len(anchored):
        return np.arange(k)
    spread = covariance.dense(found.covariances, k, d)
    factors = covariance.dense(covariance.factor(found.covariances), k, d)
    losses = []
    for i in anchored:
        deviations = np.where(np.isnan(given.means[i]), 0.0, given.means[i] - found.means)
        with np.errstate(over="ignore"):
            divergence = _divergence(deviations, None if np.isnan(dense[i]).any() else dense[i], spread, factors)
        losses.append(shares * divergence + _of_weight(shares, weights[i]))
    rows, columns = linear_sum_assignment(np.minimum(losses, MOST))
    order = np.empty(k, np.int64)
    order[anchored[rows]] = columns
    order[~known] = np.setdiff1d(np.arange(k), columns)
    return order


def _divergence(deviations: Array, replacing: Array | None, spread: Array, factors: Array) -> Array:
    """Return KL(N(0, Σ_j) | N(δ_j, Σ)) in nats, (k,); Σ (d, d) is ``replacing``, or Σ_j itself.

    ½ (tr Σ⁻¹Σ_j − d + log det Σ − log det Σ_j + δᵀΣ⁻¹δ), with the covariances Σ_j (k, d, d) and their factors.
    """
    if replacing is None:
        return np.asarray(0.5 * (np.einsum("jab,ja->jb", factors, deviations) ** 2).sum(axis=1))
    factor = upper_factor(replacing)
    ratios = factor.T @ spread @ factor
    trace = np.trace(ratios, axis1=1, axis2=2)
    logs = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) - np.log(np.diagonal(factor)).sum()
    return np.asarray(0.5 * (trace - len(factor) + ((deviations @ factor) ** 2).sum(axis=1)) + logs)


def _of_weight(shares: Array, weight: float) -> Array:
    """Return what a weight costs where the share of the rows is another, nats per row, (k,)."""
    if np.isnan(weight):
        return np.zeros(len(shares))
    return np.asarray(rel_entr(shares, weight) + rel_entr(1 - shares, 1 - weight))
