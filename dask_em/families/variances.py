"""The two covariance structures without matrices: diagonal and spherical."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.families.coordinates import Logarithms
from dask_em.families.covariances import Covariance
from dask_em.families.factors import inverse_roots
from dask_em.families.features import SquaredNorm, Squares
from dask_em.family import ProductStatistics
from dask_em.rows import Arrays

__all__ = ["Diagonal", "Spherical"]

Array = np.ndarray[Any, Any]


class _Variances(Covariance):
    """What the two have in common: numbers instead of matrices."""

    unconstrained = Logarithms()

    def add(self, covariances: Array, variance: float) -> Array:
        return np.asarray(covariances + variance)

    def factor(self, covariances: Array) -> Array:
        return inverse_roots(covariances)

    def precision(self, factor: Array) -> Array:
        return np.asarray(factor**2)

    def pool(self, covariances: Array, weights: Array) -> Array:
        return np.broadcast_to(weights / weights.sum() @ covariances, covariances.shape)

    def few(self, components: int, features: int) -> bool:
        return False

    def rows_needed(self, features: int) -> int:
        return 2

    def change(self, covariances: Array, previous: Array, deviations: Array) -> float:
        change = self.diagonals(covariances - previous, *deviations.shape) / deviations**2
        return float(np.abs(change).max())


@record
class Diagonal(_Variances):
    """Each component has its own variances; columns are uncorrelated within it."""

    name = "diag"
    feature_map = Squares()

    def shape(self, components: int, features: int) -> tuple[int, ...]:
        return (components, features)

    def degrees_of_freedom(self, components: int, features: int) -> int:
        return components * features

    def maximize(self, stats: ProductStatistics, counts: Array, means: Array) -> Array:
        return np.asarray(stats.products[:, 1 + means.shape[1] :] / counts[:, None] - means**2)

    def spread(self, covariances: Array, counts: Array, deviations: Array) -> Array:
        return np.asarray(covariances + deviations**2)

    def half_log_determinant(self, factor: Array, features: int) -> Array:
        return np.asarray(np.log(factor).sum(axis=1))

    def whiten(self, factor: Array, deviations: Array) -> Array:
        return np.asarray(deviations * factor[:, None, :])

    def natural(self, precision: Array, means: Array) -> tuple[Array, Array, Array | None]:
        return precision * means, -precision / 2, None

    def standardise(self, arrays: Arrays, factor: Array, component: int, y: Array) -> Array:
        return arrays.xp.multiply(factor[component, :, None], y, **arrays.out("mapped", y.shape))  # type: ignore[no-any-return]

    def gather(self, arrays: Arrays, y: Array, resp: Array) -> Array:
        return arrays.back(arrays.xp.multiply(y, y, **arrays.out("mapped", y.shape)) @ resp)

    def bound(self, covariances: Array, least: Array) -> tuple[Array, Array]:
        return np.maximum(covariances, least), np.asarray((covariances < least).any(axis=1))

    def replace(self, chosen: Array, covariances: Array, others: Array) -> Array:
        return np.where(chosen[:, None], others, covariances)

    def diagonals(self, matrices: Array, components: int, features: int) -> Array:
        return matrices

    def dense(self, covariances: Array, components: int, features: int) -> Array:
        return np.asarray(covariances[:, :, None] * np.eye(features))


@record
class Spherical(_Variances):
    """Each component has one variance, the same in all directions."""

    name = "spherical"
    feature_map = SquaredNorm()

    def shape(self, components: int, features: int) -> tuple[int, ...]:
        return (components,)

    def degrees_of_freedom(self, components: int, features: int) -> int:
        return components

    def maximize(self, stats: ProductStatistics, counts: Array, means: Array) -> Array:
        return np.asarray((stats.products[:, -1] / counts - (means**2).sum(axis=1)) / means.shape[1])

    def spread(self, covariances: Array, counts: Array, deviations: Array) -> Array:
        return np.asarray(covariances + (deviations**2).mean(axis=1))

    def half_log_determinant(self, factor: Array, features: int) -> Array:
        return np.asarray(features * np.log(factor))

    def whiten(self, factor: Array, deviations: Array) -> Array:
        return np.asarray(deviations * factor[:, None, None])

    def natural(self, precision: Array, means: Array) -> tuple[Array, Array, Array | None]:
        return precision[:, None] * means, -precision[:, None] / 2, None

    def standardise(self, arrays: Arrays, factor: Array, component: int, y: Array) -> Array:
        return arrays.xp.multiply(factor[component], y, **arrays.out("mapped", y.shape))  # type: ignore[no-any-return]

    def gather(self, arrays: Arrays, y: Array, resp: Array) -> Array:
        squares = arrays.xp.multiply(y, y, **arrays.out("mapped", y.shape)) @ resp
        return np.asarray([float(arrays.xp.sum(squares))])

    def bound(self, covariances: Array, least: Array) -> tuple[Array, Array]:
        least = least.min(axis=1)
        return np.maximum(covariances, least), np.asarray(covariances < least)

    def replace(self, chosen: Array, covariances: Array, others: Array) -> Array:
        return np.where(chosen, others, covariances)

    def diagonals(self, matrices: Array, components: int, features: int) -> Array:
        return np.broadcast_to(matrices[:, None], (components, features))

    def dense(self, covariances: Array, components: int, features: int) -> Array:
        return np.asarray(covariances[:, None, None] * np.eye(features))
