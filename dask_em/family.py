"""The contract: what a family of densities must know to be fitted by EM.

A family says how its parameters start, what they mean for a tile of rows, and which parameters a set of expected
statistics calls for. It holds no loop, no logsumexp, no weights, no convergence test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from dask_em._record import record, static
from dask_em.parameters import Parameters
from dask_em.rows import Arrays, Frame, Rows
from dask_em.statistics import Statistics

__all__ = [
    "EMPTY",
    "Collect",
    "Family",
    "FeatureMap",
    "Geometry",
    "ProductFamily",
    "ProductForm",
    "ProductStatistics",
    "inner",
    "translate",
]

Array = np.ndarray[Any, Any]
EMPTY = 10 * float(np.finfo(np.float64).eps)  # of all rows: a component with less is empty
P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=Statistics)
Collect = Callable[[Array], S]  # responsibilities (k, n), times the rows' weights -> expected statistics


class Geometry(ABC, Generic[P, S]):
    """What a family knows of the shape of its parameter space."""

    @abstractmethod
    def expected_log_density(self, stats: S, params: P) -> float:
        """Return <S, A(params)>: the sum over rows and components of r log p_k(x), in nats.

        With the weights' own term this is EM's Q(θ, θt), S being the statistics collected at θt
        (Dempster, Laird and Rubin 1977, eq. 2.17).
        """

    @abstractmethod
    def change(self, params: P, previous: P) -> float:
        """Return the largest relative change of a parameter, in units in which 1 means "as large as itself"."""

    @abstractmethod
    def coordinates(self, params: P) -> Array:
        """Return the parameters as numbers without constraints, (m,)."""

    @abstractmethod
    def parameters(self, coordinates: Array, like: P) -> P | None:
        """Return the parameters at coordinates (m,), near ``like``; None where they are no sound ones."""

    @abstractmethod
    def whitening(self, params: P, weights: Array) -> Callable[[Array], Array]:
        """Return the linear map of small changes of coordinates (m,) to vectors whose squared length is the metric's.

        The metric is the complete-data Fisher information of a row at ``params`` and ``weights`` (k,): in it EM's
        step is the gradient of the objective.
        """


class Family(ABC, Generic[P, S]):
    """k component densities over rows of d columns; a frozen dataclass of hyperparameters.

    Laws, tested over every family: statistics of two blocks add up; weight 2 is the row twice; components have no
    order; moving the data moves the fit; an M-step never lowers the objective.
    """

    @abstractmethod
    def frame(self, mean: Array) -> Frame:
        """Return the frame to work in, for data with this mean, (d,)."""

    @abstractmethod
    def start(self, rows: Rows, resp: Array) -> P:
        """Return parameters for rows of the frame and any responsibilities (k, n) for them."""

    @abstractmethod
    def prepare(self, params: P, frame: Frame) -> Any:
        """Return what a tile needs, once a pass, on the driver: factors, natural parameters."""

    @abstractmethod
    def expect(self, prepared: Any, rows: Rows) -> tuple[Array, Collect[S]]:
        """Look at a tile once, answer twice: log-densities (k, n) in nats, and the statistics they lead to."""

    @abstractmethod
    def maximize(self, stats: S, params: P) -> P:
        """Return the parameters that maximise Q given the statistics; ``params`` are the ones they came from."""

    @abstractmethod
    def translate(self, stats: S, params: P) -> S:
        """Return the same sums about the reference that ``params`` give: only sums about one reference can be added.

        Sums that have no reference are as they were.
        """

    @abstractmethod
    def collapsed(self, params: P) -> Array:
        """Say which components, (k,) bool, have too few distinct rows left for their likelihood to have a maximum."""

    def narrow(self, params: P) -> Array:
        """Say which components, (k,) bool, a regularization keeps from collapsing: none, where there is none."""
        return np.zeros_like(self.collapsed(params))

    @abstractmethod
    def log_prior(self, params: P) -> float:
        """Return what the objective has beside the log-likelihood, in nats; 0 for maximum likelihood."""

    @abstractmethod
    def penalty(self, params: P) -> Array:
        """Return what each component's log-density has been lowered by, (k,), in nats; 0 where it is a density."""

    @abstractmethod
    def degrees_of_freedom(self, params: P) -> int:
        """Return the number of free parameters of the components, for AIC and BIC."""

    @abstractmethod
    def geometry(self) -> Geometry[P, S] | None:
        """Return the geometry, or None where the family has none; then Q and gain are not reported."""


class FeatureMap(ABC):
    """x -> φ(x), whose first element is 1: the sufficient statistics of an exponential family."""

    @abstractmethod
    def size(self, features: int) -> int:
        """Return P, the number of features of a row of d columns."""

    @abstractmethod
    def build(self, arrays: Arrays, x: Array, out: Array) -> None:
        """Fill ``out`` (P, n) from ``x`` (d, n); ``out[0]`` is 1 and ``out[1:1+d]`` is ``x`` already."""

    @abstractmethod
    def translate(self, products: Array, shifts: Array) -> Array:
        """Return Σ r φ(x + shift_k), (k, P), of products Σ r φ(x), (k, P), and shifts (k, d)."""


@record
class ProductStatistics(Statistics):
    """Σ r φ(x − reference)ᵀ: counts, sums and whatever else the feature map holds."""

    products: Array  # (k, P)
    shared: Array | None  # (d, d), Σ w x xᵀ over all components, where the family needs it
    centre: Array = static()  # (d,), the frame's: sums in different frames never mix
    reference: Array | None = static(default=None)  # (k, d), in the frame; None: its origin

    @property
    def counts(self) -> Array:
        """N_k: the expected number (total weight) of rows of each component, (k,)."""
        return np.asarray(self.products[:, 0])


@record
class ProductForm:
    """Component densities that are two matrix products: log p_k(x) = natural_k · φ(x) − ½ xᵀ Λ x.

    Λ, common to all components, is there where the family needs it (None: no such term).
    """

    features: FeatureMap = static()
    natural: Array  # (k, P)
    shared: Array | None  # (d, d), Λ
    frame: Frame

    def expect(self, rows: Rows) -> tuple[Array, Collect[ProductStatistics]]:
        """See :class:`Family`. The features of a tile are built once for all models of a pass."""
        arrays, xp = rows.arrays, rows.arrays.xp
        phi = self._features(rows)
        x = phi[1 : 1 + rows.values.shape[1], :]
        k, n = len(self.natural), len(rows)
        natural = arrays.moved(self.natural, self)
        log_density = xp.matmul(natural, phi, **arrays.out("log_density", (k, n)))
        if self.shared is not None:
            mapped = xp.matmul(arrays.moved(self.shared, self), x, **arrays.out("mapped", x.shape))
            mapped *= x
            log_density -= 0.5 * xp.sum(mapped, axis=0)

        def collect(resp: Array) -> ProductStatistics:
            products = arrays.back(resp @ phi.T)
            shared = None
            if self.shared is not None:
                shared = arrays.back(xp.multiply(x, rows.weight, **arrays.out("mapped", x.shape)) @ x.T)
            return ProductStatistics(products, shared, self.frame.centre)

        return log_density, collect

    def _features(self, rows: Rows) -> Array:
        key = (self.features, id(self.frame))
        if key not in rows.memo:
            arrays, (n, d) = rows.arrays, rows.values.shape
            phi = arrays.empty(("features", len(rows.memo)), (self.features.size(d), n))
            phi[0, :] = 1.0
            x, centre = phi[1 : 1 + d, :], arrays.moved(self.frame.centre, self.frame)
            arrays.fill(x, arrays.xp.subtract, arrays.widened(rows.values).T, centre[:, None])
            self.features.build(arrays, x, phi)
            rows.memo[key] = phi
        return rows.memo[key]  # type: ignore[no-any-return]  # the memo holds what this method put there


def inner(stats: ProductStatistics, form: ProductForm) -> float:
    """Return <S, A>: the expected complete-data log-density of the components, in nats."""
    value = float((stats.products * form.natural).sum())
    if form.shared is not None and stats.shared is not None:
        value -= 0.5 * float((form.shared * stats.shared).sum())
    return value


def translate(stats: ProductStatistics, features: FeatureMap, reference: Array) -> ProductStatistics:
    """Return the sums about another reference, (k, d) in the frame.

    It costs digits where the references are many standard deviations of a component apart, as sums about an origin do
    that lies so far from it.
    """
    before = np.zeros_like(reference) if stats.reference is None else stats.reference
    shifts, d = before - reference, reference.shape[1]
    products = features.translate(stats.products, shifts)
    shared = stats.shared
    if shared is not None:  # Σ_k Σ r (x + s)(x + s)ᵀ
        shared = shared + stats.products[:, 1 : 1 + d].T @ shifts + shifts.T @ products[:, 1 : 1 + d]
    return ProductStatistics(products, shared, stats.centre, reference)


class ProductFamily(Family[P, ProductStatistics]):
    """A family whose tiles are matrix products; it adds a feature map, never a loop."""

    def expect(self, prepared: Any, rows: Rows) -> tuple[Array, Collect[ProductStatistics]]:
        """See :class:`Family`. The form that was prepared knows how; all forms gather the same statistics."""
        return prepared.expect(rows)  # type: ignore[no-any-return]  # a form of a family's own
