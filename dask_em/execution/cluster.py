"""Where to compute: this process, workers on this machine, or a scheduler that runs already."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import dask
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed import performance_report as distributed_report
from distributed.comm.addressing import get_address_host_port

from dask_em.errors import InputError
from dask_em.execution import preferences
from dask_em.execution.resident import LEAST_MEMORY
from dask_em.execution.threads import cores

__all__ = ["ClusterSettings", "bytes_to_keep", "connect", "performance_report"]

_OURS = {
    # A LocalCluster throws a worker away for good where it happens to be starting again this long after an earlier
    # death. Ours restarts its workers itself, always.
    "distributed.deploy.lost-worker-timeout": "365 days",
    # What does not fit is read again, which costs less than writing it to a disk and reading it from there.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}


@dataclass(frozen=True)
class ClusterSettings:
    """Where to compute."""

    kind: Literal["none", "threads", "local", "address"] = "threads"
    workers: int | None = None  # processes of a local cluster; None: one a core
    threads_per_worker: int = 1
    memory_limit: str | None = None  # of each process, such as "2GiB"; None: its share of the machine's memory
    address: str | None = None  # of the scheduler that runs already
    timeout: float = 30.0  # seconds to wait for it to answer
    resident: str | None = None  # bytes of rows that may stay in memory between passes; None: half of what is free
    patience: float | None = None  # seconds after which a pass that stands still is tried again; None: 300


@contextmanager
def connect(settings: ClusterSettings) -> Iterator[Client | None]:
    """Give a client of the cluster that the settings ask for, or None to compute in this process.

    Workers started here are processes of this machine, and nothing but this machine can reach them.

    Raises
    ------
    InputError
        Nobody answers at the address, the workers cannot be started, or their memory limit is too low to live with.
    """
    with _wishes(settings), _reached(settings) as client:
        yield client


def bytes_to_keep(settings: ClusterSettings) -> float | None:
    """Return how many bytes of rows may stay in memory between passes; None: as many as half of what is free."""
    with _wishes(settings):
        return preferences.resident()


def _wishes(settings: ClusterSettings) -> Any:
    """Return a context in which Dask's own configuration says what the settings do."""
    wishes = {preferences.RESIDENT: settings.resident, preferences.PATIENCE: settings.patience}
    return dask.config.set({key: value for key, value in wishes.items() if value is not None})


@contextmanager
def _reached(settings: ClusterSettings) -> Iterator[Client | None]:
    if settings.kind == "local":
        _require_memory(settings.memory_limit)
        with dask.config.set(_OURS), _local(settings) as cluster, _client(cluster, settings) as client:
            yield client
    elif settings.kind == "address":
        with _answering(settings) as client:
            yield client
    else:
        yield None


@contextmanager
def performance_report(client: Client, page: Path) -> Iterator[None]:
    """Write the cluster's account of what it did meanwhile to an HTML page.

    Raises
    ------
    InputError
        What draws the page is not installed.
    """
    if find_spec("bokeh") is None:
        raise InputError("the performance report is drawn by bokeh, which is not installed: pip install bokeh")
    with client.as_current(), distributed_report(filename=str(page)):  # type: ignore[no-untyped-call]  # as above
        yield


def _require_memory(limit: str | None) -> None:
    if limit is None or limit == "auto":
        return
    try:
        size = parse_bytes(limit)
    except ValueError as error:
        raise InputError(f"cluster.memory_limit is {limit!r}; give a size such as 2GiB or 600MB") from error
    if size < LEAST_MEMORY:
        raise InputError(
            f"cluster.memory_limit is {limit}, and a worker needs at least {LEAST_MEMORY // 10**6}MB for itself before "
            "it holds a row; give each more, have fewer (cluster.workers), or leave it out"
        )


def _local(settings: ClusterSettings) -> Any:
    try:
        return LocalCluster(  # type: ignore[no-untyped-call]  # distributed's own
            n_workers=settings.workers or max(1, cores() // settings.threads_per_worker),
            threads_per_worker=settings.threads_per_worker,
            processes=True,
            memory_limit=settings.memory_limit or "auto",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"the local workers could not be started: {' '.join(str(error).split())}. "
            "Ask for fewer (cluster.workers) or compute in this process (cluster.kind: threads)"
        ) from error


def _client(cluster: Any, settings: ClusterSettings) -> Any:
    return Client(cluster, timeout=settings.timeout, set_as_default=False)  # type: ignore[no-untyped-call]  # as above


def _answering(settings: ClusterSettings) -> Any:
    if settings.address is None:
        raise InputError("kind 'address' needs the scheduler's address, such as tcp://127.0.0.1:8786")
    try:
        host, port = get_address_host_port(settings.address)
        # knocked at first: a Client that finds nobody prints tracebacks when it is thrown away
        with socket.create_connection((host, port), settings.timeout):
            pass
        return _client(settings.address, settings)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {settings.address} within {settings.timeout:g} seconds "
            f"({' '.join(str(error).split()) or type(error).__name__}); start one with `dask scheduler` and write the "
            "address that it prints"
        ) from error
