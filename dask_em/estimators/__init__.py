"""scikit-learn's faces; no mathematics."""

from dask_em.estimators.gaussian_mixture import GaussianMixture
from dask_em.estimators.gaussian_mixture_search import GaussianMixtureSearch, select
from dask_em.estimators.loading import load
from dask_em.estimators.multivariate_normal import MultivariateNormal
from dask_em.estimators.spooling import spool

__all__ = ["GaussianMixture", "GaussianMixtureSearch", "MultivariateNormal", "load", "select", "spool"]
