"""What a covariance structure answers, and the two with matrices: full and tied.

Arrays are those of scikit-learn: ``covariances`` is (k, d, d) for full, (d, d) for tied, (k, d) for diagonal, (k,)
for spherical; a ``factor`` U of the same shape gives the precision as U Uᵀ (full, tied) or U² (diagonal, spherical).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from dask_em._record import record
from dask_em.families.coordinates import Triangles, Unconstrained
from dask_em.families.factors import floored, upper_factor, upper_factors
from dask_em.families.features import Linear, Products
from dask_em.families.triangles import halves, symmetric, upper
from dask_em.family import FeatureMap, ProductStatistics
from dask_em.rows import Arrays

__all__ = ["Covariance", "Full", "Tied"]

Array = np.ndarray[Any, Any]


class Covariance(ABC):
    """How the covariances of k components are tied together."""

    name: ClassVar[str]
    feature_map: ClassVar[FeatureMap]
    unconstrained: ClassVar[Unconstrained]
    is_shared: ClassVar[bool] = False  # whether one scatter serves all components

    @abstractmethod
    def shape(self, components: int, features: int) -> tuple[int, ...]:
        """Return the shape of the covariances."""

    @abstractmethod
    def degrees_of_freedom(self, components: int, features: int) -> int:
        """Return the number of free parameters."""

    @abstractmethod
    def maximize(self, stats: ProductStatistics, counts: Array, means: Array) -> Array:
        """Return Σ r (x−m)(x−m)ᵀ / N before regularisation; ``means`` m are the rows' own, from the reference."""

    @abstractmethod
    def spread(self, covariances: Array, counts: Array, deviations: Array) -> Array:
        """Return the scatters about points that lie ``deviations`` δ (k, d) from the rows' own means: δδᵀ is added."""

    @abstractmethod
    def add(self, covariances: Array, variance: float) -> Array:
        """Return the covariances with ``variance`` added to every diagonal element."""

    @abstractmethod
    def factor(self, covariances: Array) -> Array:
        """Return U; LinAlgError where a covariance is not positive definite."""

    @abstractmethod
    def precision(self, factor: Array) -> Array:
        """Return the precisions, in the covariances' shape."""

    @abstractmethod
    def half_log_determinant(self, factor: Array, features: int) -> Array:
        """Return ½ log det of the precisions, (k,) or a scalar where tied."""

    @abstractmethod
    def whiten(self, factor: Array, deviations: Array) -> Array:
        """Map deviations (k, n, d) from the k means to n coordinates of unit variance, (k, n, d)."""

    @abstractmethod
    def natural(self, precision: Array, means: Array) -> tuple[Array, Array, Array | None]:
        """Return the linear (k, d) and quadratic (k, P−1−d) natural parameters, and Λ where it is shared."""

    @abstractmethod
    def standardise(self, arrays: Arrays, factor: Array, component: int, y: Array) -> Array:
        """Return U_kᵀ y in the memory "mapped", for deviations y (d, n) from a component's mean."""

    @abstractmethod
    def gather(self, arrays: Arrays, y: Array, resp: Array) -> Array:
        """Return the quadratic products Σ r q(y), (P−1−d,), as NumPy's; "mapped" is memory to work in."""

    @abstractmethod
    def bound(self, covariances: Array, least: Array) -> tuple[Array, Array]:
        """Return the best covariances with at least these variances (k, d) in all directions, and which had less, (k,).

        Without any spread in a direction the likelihood has no maximum.
        """

    @abstractmethod
    def replace(self, chosen: Array, covariances: Array, others: Array) -> Array:
        """Return ``others`` for the chosen components (k,); a covariance that belongs to all of them stays."""

    @abstractmethod
    def pool(self, covariances: Array, weights: Array) -> Array:
        """Return covariances that are all the mean of these, weighted by ``weights`` (k,)."""

    @abstractmethod
    def few(self, components: int, features: int) -> bool:
        """Say whether components are so few that a product for each is cheaper than building all features."""

    @abstractmethod
    def rows_needed(self, features: int) -> int:
        """Return how many rows a component needs for a covariance of its own."""

    @abstractmethod
    def diagonals(self, matrices: Array, components: int, features: int) -> Array:
        """Return the diagonals of covariances or precisions, (k, d)."""

    @abstractmethod
    def dense(self, covariances: Array, components: int, features: int) -> Array:
        """Return the covariances as matrices, (k, d, d)."""

    def change(self, covariances: Array, previous: Array, deviations: Array) -> float:
        """Return the largest change of a covariance, relative to the standard deviations (k, d) of its columns."""
        change = self.dense(covariances - previous, *deviations.shape) / deviations[:, :, None]
        change /= deviations[:, None, :]
        return float(np.abs(change, out=change).max())


@record
class Full(Covariance):
    """Each component has its own matrix."""

    name = "full"
    feature_map = Products()
    unconstrained = Triangles()

    def shape(self, components: int, features: int) -> tuple[int, ...]:
        return (components, features, features)

    def degrees_of_freedom(self, components: int, features: int) -> int:
        return components * features * (features + 1) // 2

    def maximize(self, stats: ProductStatistics, counts: Array, means: Array) -> Array:
        d = means.shape[1]
        second = symmetric(stats.products[:, 1 + d :], d)
        second /= counts[:, None, None]
        second -= means[:, :, None] * means[:, None, :]
        return np.asarray(second)

    def spread(self, covariances: Array, counts: Array, deviations: Array) -> Array:
        return np.asarray(covariances + deviations[:, :, None] * deviations[:, None, :])

    def add(self, covariances: Array, variance: float) -> Array:
        return np.asarray(covariances + variance * np.eye(covariances.shape[-1]))

    def factor(self, covariances: Array) -> Array:
        return upper_factors(covariances)

    def precision(self, factor: Array) -> Array:
        return np.asarray(factor @ factor.transpose(0, 2, 1))

    def half_log_determinant(self, factor: Array, features: int) -> Array:
        return np.asarray(np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1))

    def whiten(self, factor: Array, deviations: Array) -> Array:
        return np.asarray(deviations @ factor)

    def natural(self, precision: Array, means: Array) -> tuple[Array, Array, Array | None]:
        k, d = means.shape
        linear = (precision @ means[:, :, None])[:, :, 0]
        quadratic = precision.reshape(k, d * d).take(upper(d), axis=1)
        return linear, -halves(d) * quadratic, None

    def standardise(self, arrays: Arrays, factor: Array, component: int, y: Array) -> Array:
        return arrays.xp.matmul(factor[component, :, :].T, y, **arrays.out("mapped", y.shape))  # type: ignore[no-any-return]

    def gather(self, arrays: Arrays, y: Array, resp: Array) -> Array:
        scatter = arrays.xp.multiply(y, resp, **arrays.out("mapped", y.shape)) @ y.T
        return np.asarray(arrays.back(scatter).take(upper(y.shape[0])))

    def bound(self, covariances: Array, least: Array) -> tuple[Array, Array]:
        return floored(covariances, least)

    def replace(self, chosen: Array, covariances: Array, others: Array) -> Array:
        return np.where(chosen[:, None, None], others, covariances)

    def pool(self, covariances: Array, weights: Array) -> Array:
        mean = np.tensordot(weights / weights.sum(), covariances, axes=1)
        return np.broadcast_to(mean, covariances.shape)

    def few(self, components: int, features: int) -> bool:
        return 4 * components <= features

    def rows_needed(self, features: int) -> int:
        return features + 1

    def diagonals(self, matrices: Array, components: int, features: int) -> Array:
        return np.diagonal(matrices, axis1=1, axis2=2)

    def dense(self, covariances: Array, components: int, features: int) -> Array:
        return covariances


@record
class Tied(Covariance):
    """All components share one matrix."""

    name = "tied"
    feature_map = Linear()
    unconstrained = Triangles()
    is_shared = True

    def shape(self, components: int, features: int) -> tuple[int, ...]:
        return (features, features)

    def degrees_of_freedom(self, components: int, features: int) -> int:
        return features * (features + 1) // 2

    def maximize(self, stats: ProductStatistics, counts: Array, means: Array) -> Array:
        assert stats.shared is not None  # the tied form always gathers it
        between = (counts[:, None] * means).T @ means
        return np.asarray((stats.shared - between) / stats.counts.sum())

    def spread(self, covariances: Array, counts: Array, deviations: Array) -> Array:
        return np.asarray(covariances + (counts[:, None] * deviations).T @ deviations / counts.sum())

    def add(self, covariances: Array, variance: float) -> Array:
        return np.asarray(covariances + variance * np.eye(len(covariances)))

    def factor(self, covariances: Array) -> Array:
        return upper_factor(covariances)

    def precision(self, factor: Array) -> Array:
        return np.asarray(factor @ factor.T)

    def half_log_determinant(self, factor: Array, features: int) -> Array:
        return np.asarray(np.log(np.diagonal(factor)).sum())

    def whiten(self, factor: Array, deviations: Array) -> Array:
        return np.asarray(deviations @ factor)

    def natural(self, precision: Array, means: Array) -> tuple[Array, Array, Array | None]:
        return means @ precision, np.empty((len(means), 0)), precision

    def standardise(self, arrays: Arrays, factor: Array, component: int, y: Array) -> Array:
        return arrays.xp.matmul(factor.T, y, **arrays.out("mapped", y.shape))  # type: ignore[no-any-return]

    def gather(self, arrays: Arrays, y: Array, resp: Array) -> Array:
        return np.empty(0)  # one scatter for all: the form gathers it

    def bound(self, covariances: Array, least: Array) -> tuple[Array, Array]:
        raised, collapsed = floored(covariances[None], least.min(axis=0)[None])
        return raised[0], np.full(len(least), collapsed[0])

    def replace(self, chosen: Array, covariances: Array, others: Array) -> Array:
        return covariances

    def pool(self, covariances: Array, weights: Array) -> Array:
        return covariances

    def few(self, components: int, features: int) -> bool:
        return False

    def rows_needed(self, features: int) -> int:
        return 0

    def diagonals(self, matrices: Array, components: int, features: int) -> Array:
        return np.broadcast_to(np.diagonal(matrices), (components, features))

    def dense(self, covariances: Array, components: int, features: int) -> Array:
        return np.broadcast_to(covariances, (components, features, features))
