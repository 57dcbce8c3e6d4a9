"""Expectation-maximisation, distributed and out of core.

Parameters travel down to every block of rows; statistics travel up and are added; a driver takes the M-step.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_em.estimators import GaussianMixture, GaussianMixtureSearch, MultivariateNormal, load, select, spool
    from dask_em.execution.cluster import cluster
    from dask_em.plan import Plan
    from dask_em.storage import Atom, Source, open_source

__version__ = "0.1.0"

_HOMES = {  # public names in the order of the pipeline; lazy, so that a worker loads what its block needs and no more
    "Source": "dask_em.storage",
    "Atom": "dask_em.storage",
    "open_source": "dask_em.storage",
    "spool": "dask_em.estimators",
    "Plan": "dask_em.plan",
    "cluster": "dask_em.execution.cluster",
    "GaussianMixture": "dask_em.estimators",
    "GaussianMixtureSearch": "dask_em.estimators",
    "select": "dask_em.estimators",
    "MultivariateNormal": "dask_em.estimators",
    "load": "dask_em.estimators",
}
__all__ = [  # noqa: RUF022  # in the order of the pipeline
    "Source",
    "Atom",
    "open_source",
    "spool",
    "Plan",
    "cluster",
    "GaussianMixture",
    "GaussianMixtureSearch",
    "select",
    "MultivariateNormal",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dask_em' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
