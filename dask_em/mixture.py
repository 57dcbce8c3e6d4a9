"""The mixture: E-step by Bayes' theorem, M-step by its parts. The only place with logsumexp."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from dask_em._record import record
from dask_em.family import EMPTY, Family, Geometry
from dask_em.parameters import Parameters
from dask_em.rows import Frame, Rows
from dask_em.statistics import Score, Statistics

__all__ = [
    "TINY",
    "Free",
    "Mixture",
    "MixtureGeometry",
    "MixtureParameters",
    "MixtureStatistics",
    "PartlyFixed",
    "PreparedMixture",
    "Weights",
]

Array = np.ndarray[Any, Any]
F = TypeVar("F", bound=Family[Any, Any])
LEAST = -1e300  # of a log-density: beyond it all components are equally far
NEGLIGIBLE = 1e-17  # responsibilities below it are set to zero: subnormal products are several times slower
TINY = 1e-300  # the least weight: its logarithm is finite


class Weights(ABC):
    """How the weights of k components are found, and the numbers (k,) without constraints that stand for them."""

    @abstractmethod
    def maximize(self, counts: Array, weights: Array) -> Array:
        """Return the weights that maximise Σ N_k log π_k; ``weights`` are those that the counts came from."""

    @abstractmethod
    def relocated(self, weights: Array, component: int) -> Array:
        """Return the weights with half of an equal share for one component, where its weight is not fixed."""

    @abstractmethod
    def degrees_of_freedom(self, weights: Array) -> int:
        """Return the number of free parameters."""

    @abstractmethod
    def coordinates(self, weights: Array) -> Array:
        """Return the coordinates (k,): log-weights about their mean."""

    @abstractmethod
    def parameters(self, coordinates: Array, like: Array) -> Array:
        """Return the weights at coordinates (k,), near ``like``."""

    @abstractmethod
    def whitened(self, weights: Array, change: Array) -> Array:
        """Map a small change of coordinates to √π_k (dℓ_k − Σ_j π_j dℓ_j), (k,), ℓ being the log-weights."""


@record
class Free(Weights):
    """Weights without a prior: π_k = N_k / N."""

    def maximize(self, counts: Array, weights: Array) -> Array:
        return _shares(counts)

    def relocated(self, weights: Array, component: int) -> Array:
        share, others = 1 / (2 * len(weights)), np.arange(len(weights)) != component
        return np.where(others, weights * (1 - share) / weights[others].sum(), share)

    def degrees_of_freedom(self, weights: Array) -> int:
        return len(weights) - 1

    def coordinates(self, weights: Array) -> Array:
        logs = np.log(weights)
        return np.asarray(logs - logs.mean())

    def parameters(self, coordinates: Array, like: Array) -> Array:
        return _shares(np.exp(coordinates - coordinates.max()))

    def whitened(self, weights: Array, change: Array) -> Array:
        return np.asarray(np.sqrt(weights) * (change - weights @ change))


@record
class PartlyFixed(Weights):
    """The weights of some components stay as they are; the others share what is left, in proportion to N_k.

    Among themselves these are free weights: π_k = m N_k / Σ_free N_j maximises Σ N_k log π_k under Σ_free π_j = m.
    """

    components: tuple[int, ...]  # whose weights are fixed

    def maximize(self, counts: Array, weights: Array) -> Array:
        free = self._free(weights)
        return self._shared(weights, _shares(counts[free])) if counts[free].sum() > 0 else weights

    def relocated(self, weights: Array, component: int) -> Array:
        free = self._free(weights)
        if not free[component] or free.sum() == 1:
            return weights
        return self._shared(weights, Free().relocated(_shares(weights[free]), int(free[:component].sum())))

    def degrees_of_freedom(self, weights: Array) -> int:
        return max(int(self._free(weights).sum()) - 1, 0)

    def coordinates(self, weights: Array) -> Array:
        free, logs = self._free(weights), np.log(weights)
        return np.where(free, logs - logs @ free / max(free.sum(), 1), 0.0)

    def parameters(self, coordinates: Array, like: Array) -> Array:
        free = self._free(like)
        return self._shared(like, Free().parameters(coordinates[free], like[free])) if free.any() else like

    def whitened(self, weights: Array, change: Array) -> Array:
        free = np.where(self._free(weights), weights, 0.0)
        return np.asarray(np.sqrt(free) * (change - free @ change / max(free.sum(), TINY)))

    def _free(self, weights: Array) -> Array:
        return ~np.isin(np.arange(len(weights)), self.components)

    def _shared(self, weights: Array, shares: Array) -> Array:
        """Return the weights with what the fixed ones leave given to the others, in shares that sum to 1."""
        free, new = self._free(weights), weights.copy()
        new[free] = (1 - weights[~free].sum()) * shares
        return new


def _shares(counts: Array) -> Array:
    return np.asarray(np.maximum(counts / counts.sum(), TINY))


@record
class MixtureParameters(Parameters):
    """Weights and component parameters."""

    weights: Array  # (k,)
    components: Any  # the family's parameters


@record
class MixtureStatistics(Statistics):
    """What one pass gathers for one mixture."""

    rows: int  # read, whatever their weight
    weight: float  # Σ w
    log_likelihood: float  # Σ w log p(x), nats
    counts: Array  # (k,), Σ w r
    components: Any  # the family's statistics
    held_out: Score | None = None  # of rows that the sums leave out


@record
class PreparedMixture:
    """A mixture ready for tiles: what travels to the workers."""

    components: Family[Any, Any]
    log_weights: Array  # (k,)
    prepared: Any  # the family's

    def evaluate(self, rows: Rows) -> tuple[Array, Array, Callable[[Array], Any]]:
        """Return log p(x) (n,), the responsibilities (k, n), and what collects statistics from weighted ones.

        The arrays are of the rows' namespace, and the workspace's: copy what must outlive the next tile.
        r_k(x) = π_k p_k(x) / Σ_j π_j p_j(x), computed in log space.
        """
        log_joint, collect = self.components.expect(self.prepared, rows)
        n = log_joint.shape[1]
        arrays, xp = rows.arrays, rows.arrays.xp  # tiles reuse memory: new pages cost as much as the exponentials
        log_joint += arrays.moved(self.log_weights, self)[:, None]
        log_joint = xp.clip(log_joint, min=LEAST, **arrays.over(log_joint))
        largest = xp.max(log_joint, axis=0, **arrays.out("largest", (n,)))
        log_joint -= largest
        resp = xp.exp(log_joint, **arrays.over(log_joint))
        total = xp.sum(resp, axis=0, **arrays.out("total", (n,)))
        resp /= total
        resp[resp < NEGLIGIBLE] = 0.0
        log_density = xp.log(total, **arrays.over(total))
        log_density += largest
        return log_density, resp, collect

    def summarize(self, rows: Rows) -> MixtureStatistics:
        """Return the statistics of a tile."""
        log_density, resp, collect = self.evaluate(rows)
        arrays, xp = rows.arrays, rows.arrays.xp
        resp *= rows.weight
        counts = arrays.back(xp.sum(resp, axis=1))
        weight, log_likelihood = float(xp.sum(rows.weight)), float(rows.weight @ log_density)
        return MixtureStatistics(len(rows), weight, log_likelihood, counts, collect(resp))


@record
class Mixture(Generic[F]):
    """Σ_k π_k p_k(x): a family of components and how their weights are tied."""

    components: F
    weights: Weights

    def start(self, rows: Rows, resp: Array) -> MixtureParameters:
        """Return parameters for rows of the frame and responsibilities (k, n) for them; nothing is fixed yet."""
        return MixtureParameters(_shares(resp @ rows.weight), self.components.start(rows, resp))

    def prepare(self, params: MixtureParameters, frame: Frame) -> PreparedMixture:
        """Return what a tile needs, once a pass."""
        prepared = self.components.prepare(params.components, frame)
        return PreparedMixture(self.components, np.log(params.weights), prepared)

    def maximize(self, stats: MixtureStatistics, params: MixtureParameters) -> MixtureParameters:
        """Return the parameters that maximise Q: the M-step."""
        weights = self.weights.maximize(stats.counts, params.weights)
        return MixtureParameters(weights, self.components.maximize(stats.components, params.components))

    def translate(self, stats: MixtureStatistics, params: MixtureParameters) -> MixtureStatistics:
        """Return the same sums about the reference that ``params`` give, to be added to others about it."""
        return dataclasses.replace(stats, components=self.components.translate(stats.components, params.components))

    def emptied(self, params: MixtureParameters) -> Array:
        """Say which components have no rows left, (k,) bool."""
        return np.asarray(params.weights <= EMPTY)

    def collapsed(self, params: MixtureParameters) -> Array:
        """Say which components have collapsed, (k,) bool."""
        return self.components.collapsed(params.components)

    def objective(self, stats: MixtureStatistics, params: MixtureParameters) -> float:
        """Return the log-likelihood plus log-prior of the parameters that the statistics were taken at, per row."""
        return (stats.log_likelihood + self.components.log_prior(params.components)) / stats.weight

    def log_likelihood(self, stats: MixtureStatistics, params: MixtureParameters) -> float:
        """Return the plain log-likelihood of the parameters that the statistics were taken at, per row.

        Where the family's densities carry a penalty b_k, E_r[b] is given back: log Σ π_k p_k ≥ log Σ π_k p_k e^{-b_k}
        + Σ r_k b_k by Jensen's inequality, an equality to first order in b.
        """
        return (stats.log_likelihood + float(stats.counts @ self.components.penalty(params.components))) / stats.weight

    def q(self, stats: MixtureStatistics, params: MixtureParameters) -> float:
        """Return Q(params, θt) per row, the statistics being those of θt; NaN where the family cannot tell."""
        geometry = self.geometry()
        if geometry is None:
            return float("nan")
        fit = geometry.expected_log_density(stats, params)
        return (fit + self.components.log_prior(params.components)) / stats.weight

    def change(self, params: MixtureParameters, previous: MixtureParameters) -> float:
        """Return the largest relative change: of a weight against 1, of a component in its family's units."""
        geometry = self.components.geometry()
        weights = float(np.abs(params.weights - previous.weights).max())
        return weights if geometry is None else max(weights, geometry.change(params.components, previous.components))

    def geometry(self) -> MixtureGeometry | None:
        """Return the geometry of the parameter space; None where the components have none."""
        components = self.components.geometry()
        return None if components is None else MixtureGeometry(components, self.weights)

    def degrees_of_freedom(self, params: MixtureParameters) -> int:
        """Return the number of free parameters."""
        return self.weights.degrees_of_freedom(params.weights) + self.components.degrees_of_freedom(params.components)


@dataclass(frozen=True)
class MixtureGeometry:
    """Coordinates of a mixture: those of its weights (k,), then those of its components."""

    components: Geometry[Any, Any]
    weights: Weights

    def coordinates(self, params: MixtureParameters) -> Array:
        """Return the parameters as numbers without constraints, (m,)."""
        of_components = self.components.coordinates(params.components)
        return np.concatenate([self.weights.coordinates(params.weights), of_components])

    def parameters(self, coordinates: Array, like: MixtureParameters) -> MixtureParameters | None:
        """Return the parameters at coordinates (m,), near ``like``; None where they are no sound ones."""
        k = len(like.weights)
        weights = self.weights.parameters(coordinates[:k], like.weights)
        components = self.components.parameters(coordinates[k:], like.components)
        sound = components is not None and bool(np.isfinite(weights).all())
        return MixtureParameters(weights, components) if sound else None

    def expected_log_density(self, stats: MixtureStatistics, params: MixtureParameters) -> float:
        """Return <S, A(params)> = Σ_k N_k log π_k + Σ_k E_k[log p_k], nats: Q without the prior."""
        of_components = self.components.expected_log_density(stats.components, params.components)
        return float(stats.counts @ np.log(params.weights)) + of_components

    def whitening(self, params: MixtureParameters) -> Callable[[Array], Array]:
        """Return the linear map of small changes to vectors whose squared length is that of EM's metric."""
        weights, k = params.weights, len(params.weights)
        components = self.components.whitening(params.components, weights)

        def whiten(change: Array) -> Array:
            return np.concatenate([self.weights.whitened(weights, change[:k]), components(change[k:])])

        return whiten
