"""Gaussian components with any covariance structure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.families.covariances import Covariance, Full
from dask_em.families.factored import FactoredForm
from dask_em.family import Geometry, ProductFamily, ProductForm, ProductStatistics, inner
from dask_em.parameters import Parameters
from dask_em.rows import Frame, Rows

__all__ = ["Gaussian", "GaussianGeometry", "GaussianParameters"]

Array = np.ndarray[Any, Any]
LOG_2PI = float(np.log(2 * np.pi))
TILE = 1024  # rows of the sample that are looked at together
EPS = float(np.finfo(np.float64).eps)
EMPTY = 10 * EPS  # of all rows: a component with less is empty
ACCURATE = 1e-7  # nats: the error that the product form may make in a log-density


@record
class GaussianParameters(Parameters):
    """Means and covariances in the coordinates of the frame; the covariances' shape is their object's."""

    means: Array  # (k, d)
    covariances: Array
    collapsed: Array | None = None  # (k,) bool, components whose likelihood has no maximum; None: not judged yet


@record
class Gaussian(ProductFamily[GaussianParameters]):
    """N(μ_k, Σ_k): log p_k(x) = −½ (d log 2π + log det Σ_k + (x−μ_k)ᵀ Σ_k⁻¹ (x−μ_k)).

    The M-step is Dempster, Laird and Rubin (1977) with ``regularization`` added to every variance after it.
    """

    covariance: Covariance = dataclasses.field(default_factory=Full)
    regularization: float = 1e-6  # squared units of the data

    def frame(self, mean: Array) -> Frame:
        return Frame(np.asarray(mean, np.float64))

    def start(self, rows: Rows, resp: Array) -> GaussianParameters:
        """A component with too few rows for a covariance of its own starts with that of all rows."""  # noqa: D401  # no command
        k, d = len(resp), rows.values.shape[1]
        unit = self.covariance.add(np.zeros(self.covariance.shape(k, d)), 1.0)
        whole = self._gather(rows, np.full((k, len(rows)), 1 / k))
        broad = self.maximize(whole, GaussianParameters(np.zeros((k, d)), unit))
        stats = self._gather(rows, resp)
        params = self.maximize(stats, broad)
        starved = stats.counts * len(rows) < self.covariance.rows_needed(d) * rows.weight.sum()
        return GaussianParameters(
            params.means, self.covariance.replace(starved, params.covariances, broad.covariances), broad.collapsed
        )

    def _gather(self, rows: Rows, resp: Array) -> ProductStatistics:
        k, d = len(resp), rows.values.shape[1]
        features = self.covariance.feature_map
        form = ProductForm(features, np.zeros((k, features.size(d))), np.zeros((d, d)), Frame.identity(d))
        parts = (
            form.expect(rows[at : at + TILE])[1](resp[:, at : at + TILE] * rows.weight[at : at + TILE])
            for at in range(0, len(rows), TILE)
        )
        total = next(parts)
        for part in parts:
            total = total + part
        return total

    def prepare(self, params: GaussianParameters, frame: Frame) -> ProductForm | FactoredForm:
        few = self.covariance.few(*params.means.shape)
        form = None if few else self.product_form(params, frame)
        return self.factored_form(params, frame) if form is None or self.error(form, params) > ACCURATE else form

    def error(self, form: ProductForm, params: GaussianParameters) -> float:
        """Return a bound of the product form's error in a log-density, nats: 4 ε Σ_j |a_kj| mean |φ_j|, worst k.

        Means over the rows are bounded by the components' own second moments (Cauchy and Schwarz).
        """
        k, d = params.means.shape
        variances = np.diagonal(self.covariance.dense(params.covariances, k, d), axis1=1, axis2=2)
        size = np.sqrt((variances + params.means**2).mean(axis=0))
        features = np.ones(self.covariance.feature_map.size(d))
        features[1 : 1 + d] = size
        self.covariance.feature_map.build(size[:, None], features[:, None])
        error = (np.abs(form.natural) @ features).max()
        if form.shared is not None:
            error += 0.5 * size @ np.abs(form.shared) @ size
        return float(4 * EPS * error)

    def factored_form(self, params: GaussianParameters, frame: Frame) -> FactoredForm:
        """Return the form about each component's own mean."""
        (k, d), factor = params.means.shape, self.covariance.factor(params.covariances)
        constant = self.covariance.half_log_determinant(factor, d) - 0.5 * d * LOG_2PI
        return FactoredForm(self.covariance, np.broadcast_to(constant, (k,)).copy(), factor, params.means, frame)

    def product_form(self, params: GaussianParameters, frame: Frame) -> ProductForm:
        """Return the form about the frame's origin: natural parameters."""
        means, d = params.means, params.means.shape[1]
        factor = self.covariance.factor(params.covariances)
        linear, quadratic, shared = self.covariance.natural(factor, means)
        constant = self.covariance.half_log_determinant(factor, d) - 0.5 * (d * LOG_2PI + (linear * means).sum(axis=1))
        natural = np.concatenate([constant[:, None], linear, quadratic], axis=1)
        return ProductForm(self.covariance.feature_map, natural, shared, frame)

    def maximize(self, stats: ProductStatistics, params: GaussianParameters) -> GaussianParameters:
        d = params.means.shape[1]
        empty = stats.counts <= EMPTY * stats.counts.sum()  # an empty component stays where it was
        counts = np.where(empty, 1.0, stats.counts)
        shift = stats.products[:, 1 : 1 + d] / counts[:, None]
        covariances = self.covariance.add(self.covariance.maximize(stats, counts, shift), self.regularization)
        means = shift if stats.reference is None else stats.reference + shift
        covariances = self.covariance.replace(empty, covariances, params.covariances)
        covariances, singular = self.covariance.repair(covariances, params.covariances)
        return GaussianParameters(np.where(empty[:, None], params.means, means), covariances, empty | singular)

    def collapsed(self, params: GaussianParameters) -> Array:
        return np.zeros(len(params.means), np.bool_) if params.collapsed is None else params.collapsed

    def log_prior(self, params: GaussianParameters) -> float:
        return 0.0

    def degrees_of_freedom(self, params: GaussianParameters) -> int:
        k, d = params.means.shape
        return int(k * d) + self.covariance.degrees_of_freedom(k, d)

    def geometry(self) -> GaussianGeometry:
        return GaussianGeometry(self)


@dataclasses.dataclass(frozen=True)
class GaussianGeometry(Geometry[GaussianParameters, ProductStatistics]):
    """The parameter space of a Gaussian."""

    family: Gaussian

    def expected_log_density(self, stats: ProductStatistics, params: GaussianParameters) -> float:
        if stats.reference is not None:
            params = GaussianParameters(params.means - stats.reference, params.covariances)
        return inner(stats, self.family.product_form(params, Frame(stats.centre)))

    def change(self, params: GaussianParameters, previous: GaussianParameters) -> float:
        """Means change relative to their component's standard deviations, covariances relative to variances."""
        k, d = previous.means.shape
        old = self.family.covariance.dense(previous.covariances, k, d)
        new = self.family.covariance.dense(params.covariances, k, d)
        scale = np.sqrt(np.diagonal(old, axis1=1, axis2=2))
        means = np.abs(params.means - previous.means) / scale
        covariances = np.abs(new - old) / (scale[:, :, None] * scale[:, None, :])
        return float(max(means.max(), covariances.max()))
