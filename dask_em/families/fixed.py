"""What stays as it is while the rest of the components is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_em._record import record
from dask_em.families.covariances import Covariance

__all__ = ["Fixed"]

Array = np.ndarray[Any, Any]


@record
class Fixed:
    """The components that keep their means, and those that keep their covariances; one that is shared, all or none."""

    means: tuple[int, ...] = ()
    covariances: tuple[int, ...] = ()

    def mean_of(self, components: int) -> Array:
        """Say whose mean is fixed, (k,) bool."""
        return np.isin(np.arange(components), self.means)

    def covariance_of(self, components: int) -> Array:
        """Say whose covariance is fixed, (k,) bool."""
        return np.isin(np.arange(components), self.covariances)

    def kept(self, covariance: Covariance, covariances: Array, old: Array, components: int) -> Array:
        """Return the covariances with the old ones where they are fixed."""
        chosen = self.covariance_of(components)
        return old if chosen.all() else covariance.replace(chosen, covariances, old)

    def degrees_of_freedom(self, covariance: Covariance, components: int, features: int) -> int:
        """Return the number of free parameters of the covariances."""
        free = components - len(self.covariances)
        return covariance.degrees_of_freedom(free, features) if free else 0
