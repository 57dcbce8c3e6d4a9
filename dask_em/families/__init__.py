"""The mathematics, one family a file."""

from dask_em.families.covariances import COVARIANCES, Covariance, Diagonal, Full, Spherical, Tied, covariance_named
from dask_em.families.gaussian import Gaussian, GaussianParameters

__all__ = [
    "COVARIANCES",
    "Covariance",
    "Diagonal",
    "Full",
    "Gaussian",
    "GaussianParameters",
    "Spherical",
    "Tied",
    "covariance_named",
]
