"""Poisson components of independent counts: log p_k(x) = Σ_j (x_j log λ_kj − λ_kj − log x_j!)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln

from dask_em._record import record
from dask_em.families.features import Linear
from dask_em.family import EMPTY, Collect, Geometry, ProductFamily, ProductForm, ProductStatistics, inner
from dask_em.parameters import Parameters
from dask_em.rows import Frame, Rows

__all__ = ["Poisson", "PoissonParameters"]

Array = np.ndarray[Any, Any]
LEAST = 1e-12  # of a rate, relative to the column's largest: a component of zeros alone has no finite coordinate


@record
class PoissonParameters(Parameters):
    """Expected counts."""

    rates: Array  # (k, d)


@record
class PoissonForm:
    """The product form, and what no parameter is in: Σ_j log x_j!."""

    product: ProductForm

    def expect(self, rows: Rows) -> tuple[Array, Collect[ProductStatistics]]:
        """See :class:`~dask_em.family.Family`."""
        log_density, collect = self.product.expect(rows)
        log_density -= gammaln(np.asarray(rows.values, np.float64) + 1.0).sum(axis=1)
        return log_density, collect


@record
class Poisson(ProductFamily[PoissonParameters]):
    """Counts (n, d), independent within a component. The M-step is λ_kj = Σ r x_j / N_k."""

    def frame(self, mean: Array) -> Frame:
        return Frame.identity(len(mean))  # counts have a zero of their own

    def start(self, rows: Rows, resp: Array) -> PoissonParameters:
        weighted = resp * rows.weight
        counts = np.maximum(weighted.sum(axis=1), EMPTY * rows.weight.sum())
        return PoissonParameters(_sound(weighted @ rows.values / counts[:, None]))

    def prepare(self, params: PoissonParameters, frame: Frame) -> PoissonForm:
        return PoissonForm(_product(params, frame))

    def maximize(self, stats: ProductStatistics, params: PoissonParameters) -> PoissonParameters:
        empty = stats.counts <= EMPTY * stats.counts.sum()
        rates = stats.products[:, 1:] / np.where(empty, 1.0, stats.counts)[:, None]
        return PoissonParameters(np.where(empty[:, None], params.rates, _sound(rates)))

    def translate(self, stats: ProductStatistics, params: PoissonParameters) -> ProductStatistics:
        return stats  # counts are summed about zero

    def collapsed(self, params: PoissonParameters) -> Array:
        return np.zeros(len(params.rates), np.bool_)  # its likelihood is bounded

    def log_prior(self, params: PoissonParameters) -> float:
        return 0.0

    def penalty(self, params: PoissonParameters) -> Array:
        return np.zeros(len(params.rates))

    def degrees_of_freedom(self, params: PoissonParameters) -> int:
        return params.rates.size

    def geometry(self) -> PoissonGeometry:
        return PoissonGeometry()


@dataclass(frozen=True)
class PoissonGeometry(Geometry[PoissonParameters, ProductStatistics]):
    """Logarithms of rates; a row's information about log λ is λ."""

    def expected_log_density(self, stats: ProductStatistics, params: PoissonParameters) -> float:
        return inner(stats, _product(params, Frame(stats.centre)))

    def change(self, params: PoissonParameters, previous: PoissonParameters) -> float:
        return float((np.abs(params.rates - previous.rates) / np.sqrt(previous.rates)).max())

    def coordinates(self, params: PoissonParameters) -> Array:
        return np.log(params.rates).ravel()

    def parameters(self, coordinates: Array, like: PoissonParameters) -> PoissonParameters | None:
        with np.errstate(over="ignore"):
            rates = np.exp(coordinates).reshape(like.rates.shape)
        return PoissonParameters(rates) if (np.isfinite(rates) & (rates > 0)).all() else None

    def whitening(self, params: PoissonParameters, weights: Array) -> Callable[[Array], Array]:
        roots = np.sqrt(weights[:, None] * params.rates).ravel()
        return lambda change: np.asarray(roots * change)


def _product(params: PoissonParameters, frame: Frame) -> ProductForm:
    natural = np.column_stack([-params.rates.sum(axis=1), np.log(params.rates)])
    return ProductForm(Linear(), natural, None, frame)


def _sound(rates: Array) -> Array:
    """Keep rates off zero, whose logarithm no arithmetic survives."""
    return np.maximum(rates, LEAST * max(float(rates.max(initial=0.0)), LEAST))
