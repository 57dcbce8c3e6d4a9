"""Gaussian components with any covariance structure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.families.covariances import Covariance, Full
from dask_em.families.factored import FactoredForm, gathered
from dask_em.families.factors import least_variances, upper_factor
from dask_em.families.fixed import Fixed
from dask_em.family import EMPTY, Geometry, ProductFamily, ProductStatistics, inner, translate
from dask_em.parameters import Parameters
from dask_em.rows import Frame, Rows

__all__ = ["Gaussian", "GaussianGeometry", "GaussianParameters", "extents"]

Array = np.ndarray[Any, Any]
LOG_2PI = float(np.log(2 * np.pi))
TILE = 1024  # rows of the sample that are looked at together
SMALLEST = 1e-250  # of a squared half-range: less is no spread
NARROW = 2.0  # times the regularization: a smaller variance is mostly its own
ACCURATE = 1e-7  # nats: the error that the product form may make in a log-density
ACCURATE_SCATTER = 2e-12  # of a variance, relative: that of a scatter about the frame's origin
ACCURATE_SINGLE = 1e-4  # nats: that of float32, where it is allowed; a tenth of the usual tolerance


@record
class GaussianParameters(Parameters):
    """Means and covariances in the coordinates of the frame; the covariances' shape is their object's."""

    means: Array  # (k, d)
    covariances: Array
    collapsed: Array | None = None  # (k,) bool, components whose likelihood has no maximum; None: not judged yet
    extent: Array | None = None  # (d,), squared half-range of the data in each column; None: that of the parameters
    narrowest: Array | None = None  # (k, d), the smallest variances that each component has had; None: its own

    def factor(self, covariance: Covariance) -> Array:
        """Return U, found once: a pass's end and the next one's beginning ask for it."""
        if covariance not in self._factors:
            self._factors[covariance] = covariance.factor(self.covariances)
        return self._factors[covariance]

    def precision(self, covariance: Covariance) -> Array:
        """Return the precisions, in the covariances' shape, found once too."""
        if covariance not in self._precisions:
            self._precisions[covariance] = covariance.precision(self.factor(covariance))
        return self._precisions[covariance]

    @cached_property
    def _factors(self) -> dict[Covariance, Array]:
        return {}

    @cached_property
    def _precisions(self) -> dict[Covariance, Array]:
        return {}


@record
class Gaussian(ProductFamily[GaussianParameters]):
    """N(μ_k, Σ_k): log p_k(x) = −½ (d log 2π + log det Σ_k + (x−μ_k)ᵀ Σ_k⁻¹ (x−μ_k)).

    ``fixed`` means and covariances stay as they are, and nothing is added to such covariances; that of a component
    whose mean alone is fixed is the scatter about this mean.

    The M-step is Dempster, Laird and Rubin (1977) with ``regularization`` λ added to every variance after it, as in
    scikit-learn, and every covariance kept at or above a bound that only rounding makes necessary.

    ``blurred``: each log-density has the term −(λ/2) tr Σ_k⁻¹. The expected complete-data log-likelihood is then
    Σ_k −(N_k/2) (log det Σ_k + tr Σ_k⁻¹(S_k + λI)), whose maximum is Σ_k = S_k + λI: the same step, now the exact
    M-step of what is maximised, so that no step lowers it. (Noise of variance λ in the rows would take as much from
    a component's log-density, on average.)
    """

    covariance: Covariance = dataclasses.field(default_factory=Full)
    regularization: float = 1e-6  # squared units of the data
    blurred: bool = False
    precision: str = "float64"  # or "auto": products in float32 where they are accurate enough
    fixed: Fixed = dataclasses.field(default_factory=Fixed)

    def frame(self, mean: Array) -> Frame:
        return Frame(np.asarray(mean, np.float64))

    def start(self, rows: Rows, resp: Array) -> GaussianParameters:
        """A component with too few rows for a covariance of its own starts with that of all rows."""  # noqa: D401  # no command
        k, d = len(resp), rows.values.shape[1]
        unit = self.covariance.add(np.zeros(self.covariance.shape(k, d)), 1.0)
        free = dataclasses.replace(self, fixed=Fixed())  # nothing is known yet that could be kept
        extent = extents(rows.values.min(axis=0), rows.values.max(axis=0))
        one = self._gather(rows, np.ones((1, len(rows))))
        assert one.reference is not None  # the mean of all rows
        products, reference = np.repeat(one.products / k, k, axis=0), np.repeat(one.reference, k, axis=0)
        whole = dataclasses.replace(one, products=products, reference=reference)
        broad = free.maximize(whole, GaussianParameters(np.zeros((k, d)), unit, None, extent, np.tile(extent, (k, 1))))
        stats = self._gather(rows, resp)
        params = free.maximize(stats, broad)
        heaviest = rows.weight.max()  # weights have any scale: their squares might have no room
        squares = np.einsum("kn,kn,n->k", resp, resp, (rows.weight / heaviest) ** 2)  # much weight is one row yet
        starved = (stats.counts / heaviest) ** 2 < self.covariance.rows_needed(d) * squares
        covariances = self.covariance.replace(starved, params.covariances, broad.covariances)
        return GaussianParameters(params.means, covariances, None, extent)

    def _gather(self, rows: Rows, resp: Array) -> ProductStatistics:
        """Return the statistics of rows about the means of their own that responsibilities (k, n) give."""
        d, total = rows.values.shape[1], resp @ rows.weight
        means = (resp * rows.weight) @ rows.values / np.where(total > 0, total, 1.0)[:, None]
        parts = []
        for at in range(0, len(rows), TILE):
            tile = rows[at : at + TILE]
            share = resp[:, at : at + TILE] * tile.weight
            sums = gathered(self.covariance, tile.arrays, tile.values.T, share, means)
            parts.append(ProductStatistics(*sums, np.zeros(d), means))
        return reduce(add, parts)

    def prepare(self, params: GaussianParameters, frame: Frame) -> FactoredForm:
        form = self.factored_form(params, frame)
        few = self.covariance.few(*params.means.shape)
        squares, precision = self.mean_squares(params), params.precision(self.covariance)
        accurate = not few and form.error(precision, squares) <= ACCURATE
        accurate = accurate and form.cancellation(precision, squares) <= ACCURATE_SCATTER
        single = self.precision == "auto" and form.single_error(squares) <= ACCURATE_SINGLE
        return dataclasses.replace(form, accurate=accurate, single=single)

    def mean_squares(self, params: GaussianParameters) -> Array:
        """Return what the components' own second moments say of E[x_j²] about the frame's origin, (d,)."""
        variances = self.covariance.diagonals(params.covariances, *params.means.shape)
        return np.asarray((variances + params.means**2).mean(axis=0))

    def factored_form(self, params: GaussianParameters, frame: Frame) -> FactoredForm:
        """Return the form about each component's own mean."""
        (k, d), factor = params.means.shape, params.factor(self.covariance)
        constant = self.covariance.half_log_determinant(factor, d) - 0.5 * d * LOG_2PI - self._blur(params)
        return FactoredForm(self.covariance, np.broadcast_to(constant, (k,)).copy(), factor, params.means, frame)

    def maximize(self, stats: ProductStatistics, params: GaussianParameters) -> GaussianParameters:
        k, d = params.means.shape
        empty = stats.counts <= EMPTY * stats.counts.sum()  # an empty component stays where it was
        counts = np.where(empty, 1.0, stats.counts)
        shift = stats.products[:, 1 : 1 + d] / counts[:, None]
        covariances = self.covariance.maximize(stats, counts, shift)
        if self.fixed.means:
            held = params.means if stats.reference is None else params.means - stats.reference
            off = (self.fixed.mean_of(k) & ~empty)[:, None]
            covariances = self.covariance.spread(covariances, stats.counts, np.where(off, held - shift, 0.0))
        covariances = self.covariance.add(covariances, self.regularization)
        means = shift if stats.reference is None else stats.reference + shift
        covariances = self.covariance.replace(empty, covariances, params.covariances)
        extent, narrowest = self.bounds(params)
        covariances, singular = self.covariance.bound(covariances, least_variances(narrowest, extent))
        means = np.where((empty | self.fixed.mean_of(k))[:, None], params.means, means)
        covariances = self.fixed.kept(self.covariance, covariances, params.covariances, k)
        narrowest = np.minimum(narrowest, self.covariance.diagonals(covariances, *means.shape))
        collapsed = (empty | singular) & ~self.fixed.covariance_of(k)
        return GaussianParameters(means, covariances, collapsed, extent, narrowest)

    def translate(self, stats: ProductStatistics, params: GaussianParameters) -> ProductStatistics:
        return translate(stats, self.covariance.feature_map, params.means)

    def bounds(self, params: GaussianParameters) -> tuple[Array, Array]:
        """Return the data's extent (d,) and the smallest variances so far (k, d)."""
        variances = self.covariance.diagonals(params.covariances, *params.means.shape)
        extent = variances.mean(axis=0) + params.means.var(axis=0) if params.extent is None else params.extent
        return extent, variances if params.narrowest is None else params.narrowest

    def _blur(self, params: GaussianParameters) -> Array | float:
        """Return (λ/2) tr Σ_k⁻¹, (k,), where the objective has that term: a fixed covariance needs none."""
        if not self.blurred:
            return 0.0
        precisions = self.covariance.diagonals(params.precision(self.covariance), *params.means.shape)
        blur = np.asarray(self.regularization / 2 * precisions.sum(axis=1))
        return np.where(self.fixed.covariance_of(len(blur)), 0.0, blur)

    def standardise(self, params: GaussianParameters, weights: Array, points: Array) -> Array:
        """Map points (n, d) to coordinates in which the pooled covariance, weighted by ``weights`` (k,), is 1."""
        pooled = self.covariance.pool(params.covariances, weights)
        return np.asarray(points @ upper_factor(self.covariance.dense(pooled, *params.means.shape)[0]))

    def relocate(self, params: GaussianParameters, weights: Array, component: int, point: Array) -> GaussianParameters:
        """Return the parameters with a component, whose mean is not fixed, at ``point`` (d,), spread as the others."""
        chosen = np.arange(len(params.means)) == component
        pooled = self.covariance.pool(params.covariances, weights)
        moved = chosen & ~self.fixed.covariance_of(len(chosen))
        covariances = self.covariance.replace(moved, params.covariances, pooled)
        extent, narrowest = self.bounds(params)
        variances = self.covariance.diagonals(covariances, *params.means.shape)
        return GaussianParameters(
            np.where(chosen[:, None], point, params.means),
            covariances,
            self.collapsed(params) & ~chosen,
            extent,
            np.where(chosen[:, None], variances, narrowest),
        )

    def collapsed(self, params: GaussianParameters) -> Array:
        return np.zeros(len(params.means), np.bool_) if params.collapsed is None else params.collapsed

    def narrow(self, params: GaussianParameters) -> Array:
        k = len(params.means)
        if self.regularization == 0:
            return np.zeros(k, np.bool_)
        least = np.full(params.means.shape, NARROW * self.regularization)
        return np.asarray(self.covariance.bound(params.covariances, least)[1] & ~self.fixed.covariance_of(k))

    def log_prior(self, params: GaussianParameters) -> float:
        return 0.0

    def penalty(self, params: GaussianParameters) -> Array:
        return np.broadcast_to(self._blur(params), (len(params.means),))

    def degrees_of_freedom(self, params: GaussianParameters) -> int:
        k, d = params.means.shape
        return int((k - len(self.fixed.means)) * d) + self.fixed.degrees_of_freedom(self.covariance, k, d)

    def geometry(self) -> GaussianGeometry:
        return GaussianGeometry(self)


def extents(low: Array, high: Array) -> Array:
    """Return the squared half-range of each column, (d,); a constant column counts as wide as the others."""
    extent = ((high - low) / 2) ** 2
    constant = extent < SMALLEST
    return np.where(constant, 1.0 if constant.all() else extent[~constant].mean(), extent)


@dataclasses.dataclass(frozen=True)
class GaussianGeometry(Geometry[GaussianParameters, ProductStatistics]):
    """The parameter space of a Gaussian."""

    family: Gaussian

    def expected_log_density(self, stats: ProductStatistics, params: GaussianParameters) -> float:
        form = self.family.factored_form(params, Frame(stats.centre))
        if stats.reference is not None:
            form = dataclasses.replace(form, means=params.means - stats.reference)
        return inner(stats, form.product_with(params.precision(self.family.covariance)))

    def change(self, params: GaussianParameters, previous: GaussianParameters) -> float:
        """Means change relative to their component's standard deviations, covariances relative to variances."""
        covariance = self.family.covariance
        scale = np.sqrt(covariance.diagonals(previous.covariances, *previous.means.shape))
        means = np.abs(params.means - previous.means) / scale
        return max(float(means.max()), covariance.change(params.covariances, previous.covariances, scale))

    def coordinates(self, params: GaussianParameters) -> Array:
        covariances = self.family.covariance.unconstrained.coordinates(params.covariances)
        return np.concatenate([params.means.ravel(), covariances.ravel()])

    def parameters(self, coordinates: Array, like: GaussianParameters) -> GaussianParameters | None:
        covariance = self.family.covariance
        means, flat = self._parts(coordinates, like)
        with np.errstate(over="ignore", invalid="ignore"):
            covariances = covariance.unconstrained.covariances(flat, like.covariances)
        if not (np.isfinite(means).all() and np.isfinite(covariances).all()):
            return None
        dead = self.family.collapsed(like)  # these stay where they are: EM alone may bring them back
        fixed, k = self.family.fixed, len(dead)
        means = np.where((dead | fixed.mean_of(k))[:, None], like.means, means)
        covariances = covariance.replace(dead, covariances, like.covariances)
        covariances = fixed.kept(covariance, covariances, like.covariances, k)
        extent, narrowest = self.family.bounds(like)
        _, singular = covariance.bound(covariances, least_variances(narrowest, extent))
        sound = not (singular & ~dead & ~fixed.covariance_of(k)).any()
        return dataclasses.replace(like, means=means, covariances=covariances) if sound else None

    def whitening(self, params: GaussianParameters, weights: Array) -> Callable[[Array], Array]:
        covariance = self.family.covariance
        whiten, roots = covariance.unconstrained.whitening(params.covariances), np.sqrt(weights)[:, None]
        shares = np.sqrt(weights.sum(keepdims=True))[:, None] if covariance.is_shared else roots
        fixed, k = self.family.fixed, len(weights)
        still_means, still_covariances = fixed.mean_of(k)[:, None], fixed.covariance_of(k)[: len(shares), None]

        def whitened(change: Array) -> Array:
            means, covariances = whiten(*self._parts(change, params))
            means, covariances = np.where(still_means, 0.0, means), np.where(still_covariances, 0.0, covariances)
            return np.concatenate([(roots * means).ravel(), (shares * covariances).ravel()])

        return whitened

    def _parts(self, coordinates: Array, like: GaussianParameters) -> tuple[Array, Array]:
        """Return what belongs to the means (k, d), and to the covariances: a row each, or one where they are shared."""
        (k, d), shared = like.means.shape, self.family.covariance.is_shared
        return coordinates[: k * d].reshape(k, d), coordinates[k * d :].reshape(1 if shared else k, -1)
