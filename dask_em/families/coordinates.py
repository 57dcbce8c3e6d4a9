"""Coordinates in which every covariance is feasible, and in which EM's own metric is simple.

A positive definite matrix is its Cholesky factor L with the logarithms of the diagonal; variances are logarithms.
``whiten`` maps a small change of coordinates to an orthonormal basis of the complete-data Fisher metric of one row
from the component: |dμ|² there is dμᵀ Σ⁻¹ dμ, and ½ tr (Σ⁻¹ dΣ)² for the covariance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.families import triangles

__all__ = ["Logarithms", "Triangles", "Unconstrained", "Whitening"]

Array = np.ndarray[Any, Any]
Whitening = Callable[[Array, Array], tuple[Array, Array]]


class Unconstrained(ABC):
    """How covariances become numbers without constraints, (j, m): j is k, or 1 where they are shared."""

    @abstractmethod
    def coordinates(self, covariances: Array) -> Array:
        """Return the coordinates (j, m); LinAlgError where a covariance is not positive definite."""

    @abstractmethod
    def covariances(self, coordinates: Array, like: Array) -> Array:
        """Return the covariances, in the shape of ``like``."""

    @abstractmethod
    def whitening(self, covariances: Array) -> Whitening:
        """Return what maps changes of means (k, d) and of coordinates (j, m) to the metric's basis, there."""


@record
class Triangles(Unconstrained):
    """Full and tied covariances."""

    def coordinates(self, covariances: Array) -> Array:
        lower = _lower(covariances)
        d = lower.shape[-1]
        flat = _triangles(lower)
        flat[:, _diagonal(d)] = np.log(flat[:, _diagonal(d)])
        return np.asarray(flat)

    def covariances(self, coordinates: Array, like: Array) -> Array:
        d = like.shape[-1]
        flat = coordinates.copy()
        flat[:, _diagonal(d)] = np.exp(flat[:, _diagonal(d)])
        lower = _matrices(flat, d)
        return np.asarray((lower @ lower.transpose(0, 2, 1)).reshape(like.shape))

    def whitening(self, covariances: Array) -> Whitening:
        lower = _lower(covariances)
        d = lower.shape[-1]
        inverse, diagonal = np.linalg.inv(lower), np.diagonal(lower, axis1=1, axis2=2)

        def whiten(means: Array, change: Array) -> tuple[Array, Array]:
            changed = change.copy()
            changed[:, _diagonal(d)] *= diagonal
            relative = _triangles(inverse @ _matrices(changed, d))
            relative[:, _diagonal(d)] *= np.sqrt(2)
            return (inverse @ means[:, :, None])[:, :, 0], relative

        return whiten


@record
class Logarithms(Unconstrained):
    """Diagonal and spherical covariances."""

    def coordinates(self, covariances: Array) -> Array:
        return np.log(covariances).reshape(len(covariances), -1)

    def covariances(self, coordinates: Array, like: Array) -> Array:
        return np.exp(coordinates).reshape(like.shape)

    def whitening(self, covariances: Array) -> Whitening:
        variances = covariances.reshape(len(covariances), -1)

        def whiten(means: Array, change: Array) -> tuple[Array, Array]:
            alike = means.shape[1] / variances.shape[1]  # columns that share a variance
            return means / np.sqrt(variances), change * np.sqrt(alike / 2)

        return whiten


def _lower(covariances: Array) -> Array:
    return np.linalg.cholesky(covariances.reshape(-1, *covariances.shape[-2:]))


def _matrices(flat: Array, d: int) -> Array:
    matrices = np.zeros((len(flat), d * d))
    matrices[:, triangles.lower(d)] = flat
    return matrices.reshape(-1, d, d)


def _triangles(matrices: Array) -> Array:
    """Return the lower triangles, row by row."""
    k, d, _ = matrices.shape
    return matrices.reshape(k, d * d).take(triangles.lower(d), axis=1)


@cache
def _diagonal(d: int) -> Array:
    """Return where the diagonal lies in the lower triangle."""
    return np.cumsum(np.arange(1, d + 1)) - 1
