"""Components about their own means: all that the compiled kernel takes, and what the reference takes where it must.

Measured, the reference on one core, seconds a pass of this form against the product form, full
covariance: (53k, 63, K = 5) 0.14 / 0.22, K = 8 0.22 / 0.25, K = 16 0.43 / 0.47;
(100k, 32, K = 4) 0.066 / 0.125, K = 8 0.127 / 0.165.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from dask_em._record import record, static
from dask_em.families.covariances import Covariance
from dask_em.family import Collect, ProductForm, ProductStatistics
from dask_em.rows import Arrays, Frame, Rows

__all__ = ["FactoredForm", "gathered"]

Array = np.ndarray[Any, Any]
EPS = float(np.finfo(np.float64).eps)
EPS_SINGLE, ROOM_SINGLE = float(np.finfo(np.float32).eps), 1e12  # squares of what is so large or small have room


@record
class FactoredForm:
    """log p_k(x) = constant_k − ½ |U_kᵀ y|² and Σ r φ(y)ᵀ with y = x − μ_k: no digits are lost to a distant centre."""

    covariance: Covariance = static()
    constant: Array  # (k,)
    factor: Array  # U, in the covariances' shape
    means: Array  # (k, d), in the frame: the reference of the sums
    frame: Frame
    single: bool = static(default=False)  # whether float32 products would do
    accurate: bool = static(default=False)  # whether the product form about the frame's origin would do as well

    @cached_property
    def product(self) -> ProductForm:
        """The form about the frame's origin: natural parameters."""
        return self.product_with(self.covariance.precision(self.factor))

    def product_with(self, precision: Array) -> ProductForm:
        """Return the same where the precisions are known, in the covariances' shape, here and below."""
        linear, quadratic, shared = self.covariance.natural(precision, self.means)
        constant = self.constant - 0.5 * (linear * self.means).sum(axis=1)
        natural = np.concatenate([constant[:, None], linear, quadratic], axis=1)
        return ProductForm(self.covariance.feature_map, natural, shared, self.frame)

    def cancellation(self, precision: Array, squares: Array) -> float:
        """Return what subtracting the means' part from a scatter about the origin costs: ε max_j E[x_j²] (Σ⁻¹)_jj.

        ``squares`` (d,) are E[x_j²] about the frame's origin, here and below.
        """
        precisions = self.covariance.diagonals(precision, *self.means.shape)
        return float(EPS * (squares * precisions).max())

    def single_error(self, squares: Array) -> float:
        """Return the error that float32 makes in a log-density, nats: 4 ε Σ_ij |u_ji| rms(x_j), worst k.

        It is that of z = Uᵀ(x − μ_k) for |z_i| near 1. Infinite where float32 has no room for the values.
        """
        size = np.sqrt(squares)
        magnitude = np.abs(self.covariance.dense(self.factor, *self.means.shape))
        if max(size.max(), magnitude.max(), 1 / size.min()) > ROOM_SINGLE:
            return float("inf")
        return float(4 * EPS_SINGLE * (size @ magnitude).sum(axis=1).max())

    def error(self, precision: Array, squares: Array) -> float:
        """Return a bound of the product form's error in a log-density, nats: 4 ε Σ_j |a_kj| mean |φ_j|, worst k.

        Means over the rows are bounded by second moments (Cauchy and Schwarz).
        """
        size = np.sqrt(squares)
        precision = self.covariance.dense(precision, *self.means.shape)
        linear = (precision @ self.means[:, :, None])[:, :, 0]
        constant = self.constant - 0.5 * (linear * self.means).sum(axis=1)
        quadratic = 0.5 * (np.abs(precision) @ size) @ size
        return float(4 * EPS * (np.abs(constant) + np.abs(linear) @ size + quadratic).max())

    def expect(self, rows: Rows) -> tuple[Array, Collect[ProductStatistics]]:
        """See :class:`Family`."""
        if self.accurate:
            return self.product.expect(rows)
        arrays, xp = rows.arrays, rows.arrays.xp
        (n, d), k = rows.values.shape, len(self.means)
        factor, means = arrays.moved(self.factor, self), arrays.moved(self.means, self)
        centre = arrays.moved(self.frame.centre, self.frame)
        x = xp.subtract(arrays.widened(rows.values).T, centre[:, None], **arrays.out("centred", (d, n)))
        log_density, deviations = arrays.empty("log_density", (k, n)), arrays.out("deviations", (d, n))
        for i in range(k):
            y = xp.subtract(x, means[i, :, None], **deviations)
            z = self.covariance.standardise(arrays, factor, i, y)
            z *= z
            arrays.fill(log_density[i, :], xp.sum, z, axis=0)
        log_density *= -0.5
        log_density += arrays.moved(self.constant, self)[:, None]

        def collect(resp: Array) -> ProductStatistics:
            products, shared = gathered(self.covariance, arrays, x, resp, means)
            return ProductStatistics(products, shared, self.frame.centre, self.means)

        return log_density, collect


def gathered(covariance: Covariance, arrays: Arrays, x: Array, resp: Array, means: Array) -> tuple[Array, Array | None]:
    """Return Σ r φ(x − μ_k)ᵀ, (k, P), and what is shared: x (d, n), responsibilities (k, n), means (k, d)."""
    xp, (d, n), k = arrays.xp, x.shape, means.shape[0]
    deviations = arrays.out("deviations", (d, n))
    products = np.empty((k, covariance.feature_map.size(d)))
    products[:, 0] = arrays.back(xp.sum(resp, axis=1))
    shared = np.zeros((d, d)) if covariance.is_shared else None
    for i in range(k):
        r = resp[i, :]
        y = xp.subtract(x, means[i, :, None], **deviations)
        products[i, 1 : 1 + d] = arrays.back(y @ r)
        products[i, 1 + d :] = covariance.gather(arrays, y, r)
        if shared is not None:
            shared += arrays.back(xp.multiply(y, r, **arrays.out("mapped", (d, n))) @ y.T)
    return products, shared
