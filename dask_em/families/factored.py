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
from dask_em.rows import Frame, Rows

__all__ = ["FactoredForm"]

Array = np.ndarray[Any, Any]


@record
class FactoredForm:
    """log p_k(x) = constant_k − ½ |U_kᵀ y|² and Σ r φ(y)ᵀ with y = x − μ_k: no digits are lost to a distant centre."""

    covariance: Covariance = static()
    constant: Array  # (k,)
    factor: Array  # U, in the covariances' shape
    means: Array  # (k, d), in the frame: the reference of the sums
    frame: Frame
    accurate: bool = static(default=False)  # whether the product form about the frame's origin would do as well

    @cached_property
    def product(self) -> ProductForm:
        """The form about the frame's origin: natural parameters."""
        linear, quadratic, shared = self.covariance.natural(self.factor, self.means)
        constant = self.constant - 0.5 * (linear * self.means).sum(axis=1)
        natural = np.concatenate([constant[:, None], linear, quadratic], axis=1)
        return ProductForm(self.covariance.feature_map, natural, shared, self.frame)

    def expect(self, rows: Rows) -> tuple[Array, Collect[ProductStatistics]]:
        """See :class:`Family`."""
        if self.accurate:
            return self.product.expect(rows)
        n, d = rows.values.shape
        k, space = len(self.means), rows.workspace
        x = np.subtract(rows.values.T, self.frame.centre[:, None], out=space.array("centred", (d, n)))
        y, z = space.array("deviations", (d, n)), space.array("mapped", (d, n))
        log_density = space.array("log_density", (k, n))
        for i, row in enumerate(log_density):
            np.subtract(x, self.means[i][:, None], out=y)
            self.covariance.standardise(self.factor, i, y, z)
            np.multiply(z, z, out=z).sum(axis=0, out=row)
            np.multiply(row, -0.5, out=row)
            np.add(row, self.constant[i], out=row)

        def collect(resp: Array) -> ProductStatistics:
            products = np.empty((k, self.covariance.feature_map.size(d)))
            shared = np.zeros((d, d)) if self.covariance.is_shared else None
            for i, r in enumerate(resp):
                np.subtract(x, self.means[i][:, None], out=y)
                products[i, 0] = r.sum()
                products[i, 1 : 1 + d] = y @ r
                products[i, 1 + d :] = self.covariance.gather(y, r, z)
                if shared is not None:
                    shared += np.multiply(y, r, out=z) @ y.T
            return ProductStatistics(products, shared, self.frame.centre, self.means)

        return log_density, collect
