"""The mathematics, one family a file."""

from __future__ import annotations

from dask_em.errors import InputError, did_you_mean
from dask_em.families.covariances import Covariance, Full, Tied
from dask_em.families.fixed import Fixed
from dask_em.families.gaussian import Gaussian, GaussianParameters
from dask_em.families.poisson import Poisson, PoissonParameters
from dask_em.families.variances import Diagonal, Spherical

__all__ = [
    "COVARIANCES",
    "Covariance",
    "Diagonal",
    "Fixed",
    "Full",
    "Gaussian",
    "GaussianParameters",
    "Poisson",
    "PoissonParameters",
    "Spherical",
    "Tied",
    "covariance_named",
]

COVARIANCES: dict[str, Covariance] = {c.name: c for c in (Full(), Tied(), Diagonal(), Spherical())}


def covariance_named(name: str) -> Covariance:
    """Return the covariance object that a ``covariance_type`` names; InputError for another name."""
    if name not in COVARIANCES:
        raise InputError(f"covariance_type is {name!r}, which is none of ours.{did_you_mean(str(name), COVARIANCES)}")
    return COVARIANCES[name]
