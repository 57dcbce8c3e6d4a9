"""From a config to the objects that it describes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_em.cli.guard import telling
from dask_em.config import Cluster, Config, Data, Security
from dask_em.estimators import GaussianMixture, GaussianMixtureSearch
from dask_em.estimators.spooling import find_spooled, spooled
from dask_em.execution import (
    ClusterSettings,
    bytes_to_keep,
    connect,
    cores,
    enlisted,
    job_script,
    memory_for_rows,
    performance_report,
)
from dask_em.execution.kinds import KINDS
from dask_em.storage import Source, open_source

__all__ = [
    "client_of",
    "estimator_of",
    "found_of",
    "job_script_of",
    "kept_of",
    "mixture_of",
    "part_of",
    "performance_of",
    "source_of",
    "spooled_of",
    "threads_of",
]


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
        reader=data.reader,
    )


def spooled_of(data: Data, source: Source, client: Any) -> Source:
    """Return the source as it is, or over rows that were written to Zarr once, where a config asks for that."""
    if data.spool is None:
        return source
    return spooled(source, data.spool, data.weights is not None, client, _options_of_spool(data))


def found_of(data: Data, source: Source) -> Source | None:
    """Return the source over rows that were spooled before; None where they would be written first."""
    if data.spool is None:
        return None
    return find_spooled(source, data.spool, data.weights is not None, _options_of_spool(data))


def _options_of_spool(data: Data) -> dict[str, Any] | None:
    """Return the options of the rows' file system where they are spooled to the same kind of it."""
    there, _, rest = (data.spool or "").partition("://")
    same = bool(rest) and data.reader == "fsspec" and data.source.startswith(f"{there}://")
    return data.storage_options if same else None


def estimator_of(config: Config) -> GaussianMixture | GaussianMixtureSearch:
    """Return the estimator that a config describes, not yet fitted."""
    if not config.is_search:
        return mixture_of(config)
    fit = config.fit
    return GaussianMixtureSearch(
        mixture_of(config),
        n_components=config.model.components,
        covariance_type=config.model.covariance,
        select_by=fit.select_by,
        holdout=fit.holdout,
        drop=fit.drop,
    )


def mixture_of(config: Config) -> GaussianMixture:
    """Return the mixture that a config describes, the largest where it names several."""
    model, fit = config.model, config.fit
    kinds = (model.covariance,) if isinstance(model.covariance, str) else model.covariance
    return GaussianMixture(
        model.components if isinstance(model.components, int) else max(model.components),
        covariance_type="full" if "full" in kinds else kinds[0],
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


@dataclass(frozen=True)
class WorkerThreads:
    """How many threads a config computes with, and the bytes that each has for rows; None: not known."""

    number: int
    memory: float | None = None
    of_workers: bool = False  # else of this process, which all compute with one block


def threads_of(cluster: Cluster) -> WorkerThreads:
    """Return the worker threads that a config asks for; one a core of this machine where it does not say."""
    workers = len(cluster.hosts) - 1 if cluster.hosts else cluster.workers
    if KINDS[cluster.kind].launcher is None or (cluster.kind != "local" and workers is None):
        return WorkerThreads(cores())
    each = cluster.threads_per_worker
    number = (workers or max(1, cores() // each)) * each
    return WorkerThreads(number, memory_for_rows(cluster.memory_limit, each), of_workers=True)


def kept_of(cluster: Cluster) -> float | None:
    """Return how many bytes of rows may stay in memory between passes; None: as many as half of what is free."""
    return bytes_to_keep(_settings(cluster))


def job_script_of(cluster: Cluster) -> str:
    """Return the job script that a config would submit."""
    return job_script(_settings(cluster))


def _settings(cluster: Cluster) -> ClusterSettings:
    told: dict[str, Any] = {
        name: value.model_dump() if isinstance(value, Security) else value for name, value in cluster
    }
    return ClusterSettings(**told)


def part_of(cluster: Cluster) -> AbstractContextManager[None]:
    """Return a context in which this process drives; others that ``mpirun`` started end in it, having served."""
    return enlisted(_settings(cluster))


@contextmanager
def client_of(cluster: Cluster) -> Iterator[Any]:
    """Give the client of the cluster that a config describes; None for the threads of this process."""
    with ExitStack() as stack:
        with _deaf_to_interrupts() if cluster.kind == "local" else nullcontext(), telling("waiting"):
            client = stack.enter_context(connect(_settings(cluster)))
        yield client


def performance_of(client: Any, page: Path | None) -> AbstractContextManager[None]:
    """Return a context whose passes the cluster accounts for in a page, where one is asked for."""
    return nullcontext() if page is None else performance_report(client, page)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one: a terminal sends it to all, and theirs would be tracebacks."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
