"""The multivariate normal density, on the same covariance objects as the mixture."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from dask_em.errors import InputError
from dask_em.estimators.fitting import single
from dask_em.estimators.given import numbers
from dask_em.execution import is_collection, lazy_rows
from dask_em.families import Covariance, Diagonal, Full, Spherical, covariance_named
from dask_em.rows import Rows

__all__ = ["MultivariateNormal"]

Array = np.ndarray[Any, Any]
LOG_2PI = float(np.log(2 * np.pi))


class MultivariateNormal:
    """N(μ, Σ) in d columns.

    Parameters
    ----------
    mean : array-like, (d,)
    cov : array-like
        (d, d) full, (d,) diagonal variances, or a number: one variance for all columns.

    Raises
    ------
    InputError
        The shapes do not fit, or the covariance is not symmetric and positive definite.
    """

    def __init__(self, mean: Any, cov: Any = 1.0) -> None:
        self.mean = np.atleast_1d(numbers("mean", mean))
        self.cov = numbers("cov", cov)
        if self.mean.ndim != 1 or len(self.mean) == 0 or not np.isfinite(self.mean).all():
            raise InputError(f"mean has shape {self.mean.shape}; give d finite numbers")
        self._covariance = _structure(self.cov, len(self.mean))
        try:
            self._factor = self._covariance.factor(self.cov[None])
        except np.linalg.LinAlgError:
            raise InputError(
                "cov is not positive definite; a density needs a positive variance in every direction"
            ) from None

    @classmethod
    def fit(cls, X: Any, *, covariance_type: str = "full", sample_weight: Any = None, client: Any = None) -> Self:
        """Return the maximum-likelihood normal of any data that a mixture can be fitted to.

        Parameters
        ----------
        X : array, frame, collection, path, URL or Source
        covariance_type : {"full", "diag", "spherical"}
        sample_weight : array-like (n,) or the name of a column, optional
        """
        covariance = covariance_named(str(covariance_type))
        if not isinstance(covariance, Full | Diagonal | Spherical):
            raise InputError("covariance_type='tied' needs several components; use 'full' for one normal")
        mean, cov = single(covariance, X, sample_weight, client)
        return cls(mean, cov)

    def logpdf(self, x: Any) -> Any:
        """Return log p(x) in nats, (...,) for x (..., d); lazy for a Dask array (n, d).

        Of one column, a number is a row and a vector (n,) is n rows, as for ``scipy.stats.multivariate_normal``.
        """
        if is_collection(x):
            return lazy_rows(x, partial(_log_density_of_rows, self), None, "float64")
        d = len(self.mean)
        squared = self.mahalanobis(x) ** 2
        half = self._covariance.half_log_determinant(self._factor, d)
        return half.reshape(-1)[0] - 0.5 * (d * LOG_2PI + squared)

    def pdf(self, x: Any) -> Any:
        """Return p(x)."""
        return np.exp(self.logpdf(x))

    def mahalanobis(self, x: Any) -> Array:
        """Return √((x−μ)ᵀ Σ⁻¹ (x−μ)), (...,) for x (..., d) (Mahalanobis 1936)."""
        points, d = numbers("x", x), len(self.mean)
        if d == 1 and points.ndim < 2 and points.shape != (1,):
            points = points[..., None]
        if points.shape[-1:] != (d,):
            raise InputError(f"x has shape {points.shape}; its last axis must have the {d} columns of the density")
        deviations = (points - self.mean).reshape(1, -1, d)
        whitened = self._covariance.whiten(self._factor, deviations)[0]
        return np.asarray(np.sqrt((whitened**2).sum(axis=1)).reshape(points.shape[:-1]))

    def rvs(self, size: Any = 1, random_state: Any = None) -> Array:
        """Draw rows, (size, d)."""
        if not isinstance(size, int | np.integer) or size < 0:
            raise InputError(f"size is {size!r}; give a whole number of rows, 0 or more")
        try:
            random = np.random.default_rng(random_state)
        except (TypeError, ValueError):
            raise InputError(f"random_state is {random_state!r}; give a whole number, a generator or None") from None
        lower = np.linalg.cholesky(self._dense())
        return np.asarray(self.mean + random.standard_normal((size, len(self.mean))) @ lower.T)

    def marginal(self, columns: Any) -> MultivariateNormal:
        """Return the density of some columns alone, in the given order."""
        kept = self._columns(columns)
        if self.cov.ndim == 2:
            return MultivariateNormal(self.mean[kept], self.cov[np.ix_(kept, kept)])
        return MultivariateNormal(self.mean[kept], self.cov if self.cov.ndim == 0 else self.cov[kept])

    def conditional(self, columns: Any, values: Any) -> MultivariateNormal:
        """Return the density of the other columns, given the values of some.

        μ₁ + Σ₁₂ Σ₂₂⁻¹ (x₂ − μ₂) and Σ₁₁ − Σ₁₂ Σ₂₂⁻¹ Σ₂₁ (Anderson 2003, Theorem 2.5.1).
        """
        known = self._columns(columns)
        rest = np.setdiff1d(np.arange(len(self.mean)), known)
        if len(rest) == 0:
            raise InputError("all columns are given; leave at least one to be distributed")
        given = numbers("values", values)
        if given.shape not in ((), known.shape) or not np.isfinite(given).all():
            raise InputError(f"values are {values!r}; give a finite number for each of the {len(known)} given columns")
        if self.cov.ndim < 2:
            return self.marginal(rest)  # uncorrelated columns say nothing of each other
        solved = cho_solve(cho_factor(self.cov[np.ix_(known, known)]), self.cov[np.ix_(known, rest)]).T
        cov = self.cov[np.ix_(rest, rest)] - solved @ self.cov[np.ix_(known, rest)]
        return MultivariateNormal(self.mean[rest] + solved @ (given - self.mean[known]), (cov + cov.T) / 2)

    def __repr__(self) -> str:
        return f"MultivariateNormal(mean={self.mean!r}, cov={self.cov!r})"

    def _dense(self) -> Array:
        return np.asarray(self._covariance.dense(self.cov[None], 1, len(self.mean))[0])

    def _columns(self, columns: Any) -> Array:
        chosen, d = np.atleast_1d(np.asarray(columns)), len(self.mean)
        distinct = chosen.dtype.kind in "iu" and len(np.unique(chosen)) == len(chosen)
        if not (distinct and ((chosen >= 0) & (chosen < d)).all()):
            raise InputError(f"columns are {columns!r}; give distinct numbers from 0 to {d - 1}")
        return chosen


def _structure(cov: Array, d: int) -> Covariance:
    if not np.isfinite(cov).all():
        raise InputError("cov holds NaN or infinity; give finite numbers")
    if cov.ndim == 0:
        return Spherical()
    if cov.shape == (d,):
        return Diagonal()
    if cov.shape == (d, d):
        if not np.allclose(cov, cov.T):
            raise InputError("cov is not symmetric; give a covariance matrix")
        return Full()
    raise InputError(f"cov has shape {cov.shape}; give ({d}, {d}), ({d},) or a number for a mean of {d} columns")


def _log_density_of_rows(density: MultivariateNormal, rows: Rows) -> Array:
    return np.asarray(density.logpdf(rows.values))
