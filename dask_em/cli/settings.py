"""From a config to the objects that it describes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from dask_em.config import Cluster, Config, Data
from dask_em.estimators import GaussianMixture
from dask_em.execution import ClusterSettings, connect
from dask_em.storage import Source, open_source

__all__ = ["client_of", "mixture_of", "source_of"]


def source_of(data: Data) -> Source:
    """Open the rows that a config names."""
    return open_source(
        data.source,
        format=data.format,
        array=data.array,
        columns=data.columns,
        feature_axis=data.feature_axis,
        rows_per_atom=data.rows_per_atom,
        weights=data.weights,
        missing_chunks=data.missing_chunks,
        storage_options=data.storage_options or None,
    )


def mixture_of(config: Config) -> GaussianMixture:
    """Return the estimator that a config describes, not yet fitted."""
    model, fit = config.model, config.fit
    return GaussianMixture(
        model.components,
        covariance_type=model.covariance,
        tol=fit.tolerance,
        reg_covar=model.regularization,
        max_iter=fit.max_passes,
        n_init=fit.restarts,
        init_params=fit.start,
        random_state=fit.seed,
        stop_on=fit.stop_on,
        accelerate=fit.accelerate,
        missing=config.data.missing,
        precision=model.precision,
        reproducible=fit.reproducible,
        reseed=model.reseed,
        max_minutes=fit.max_minutes,
    )


@contextmanager
def client_of(cluster: Cluster) -> Iterator[Any]:
    """Give the client of the cluster that a config describes; None for the threads of this process."""
    settings = ClusterSettings(
        kind=cluster.kind,
        workers=cluster.workers,
        threads_per_worker=cluster.threads_per_worker,
        memory_limit=cluster.memory_limit,
        address=cluster.address,
    )
    with ExitStack() as stack:
        with _deaf_to_interrupts() if cluster.kind == "local" else nullcontext():
            client = stack.enter_context(connect(settings))
        yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one: a terminal sends it to all, and theirs would be tracebacks."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
