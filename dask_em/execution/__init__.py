"""The one door to Dask, and the local executors beside it: where a pass over the data is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dask_em.execution.blas import single_threaded_blas
from dask_em.execution.environment import differences, environment
from dask_em.execution.kinds import ClusterSettings
from dask_em.execution.recognition import active_client, is_collection, require_client
from dask_em.execution.threads import Threads, cores
from dask_em.reduction import Reducer, Serial
from dask_em.storage.blocks import Layout

if TYPE_CHECKING:
    from dask_em.execution.cluster import (
        Workforce,
        bytes_to_keep,
        connect,
        enlisted,
        job_script,
        performance_report,
        workforce,
    )
    from dask_em.execution.collections import collection_source
    from dask_em.execution.counting import counted
    from dask_em.execution.dask_reducer import DaskReducer
    from dask_em.execution.lazy import lazy_rows
    from dask_em.execution.resident import memory_for_rows, memory_of_thread

__all__ = [
    "ClusterSettings",
    "DaskReducer",
    "Threads",
    "Workforce",
    "active_client",
    "bytes_to_keep",
    "collection_source",
    "connect",
    "cores",
    "counted",
    "differences",
    "enlisted",
    "environment",
    "is_collection",
    "job_script",
    "lazy_rows",
    "memory_for_rows",
    "memory_of_thread",
    "open_reducer",
    "performance_report",
    "single_threaded_blas",
    "workforce",
]

_HOMES = {  # lazy: Dask is loaded where it is used
    "DaskReducer": "dask_reducer",
    "Workforce": "cluster",
    "bytes_to_keep": "cluster",
    "collection_source": "collections",
    "connect": "cluster",
    "enlisted": "cluster",
    "counted": "counting",
    "job_script": "cluster",
    "lazy_rows": "lazy",
    "memory_here": "preferences",
    "memory_for_rows": "resident",
    "memory_of_thread": "resident",
    "performance_report": "cluster",
    "workforce": "cluster",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"dask_em.execution.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dask_em.execution' has no attribute {name!r}")


@contextmanager
def open_reducer(
    layout: Layout, client: Any = None, threads: int | None = None, *, strict: bool = False, once: bool = False
) -> Iterator[Reducer]:
    """Give a Reducer for a whole fit: over the cluster of a ``distributed.Client``, else over threads of this process.

    Workers whose arithmetic differs are told of, or refused where it must be ``strict``. Rows that are read ``once``
    do not stay in memory.

    Raises
    ------
    InputError
        The data has no rows, ``threads`` is less than one, or ``client`` is no client that works.
    """
    if client is not None:
        require_client(client)
    with single_threaded_blas():
        if client is not None:
            keep = 0.0 if once else None
            with __getattr__("DaskReducer")(layout, client, keep=keep, strict=strict) as reducer:
                yield reducer
            return
        read = not once and not all(block.in_memory for block in layout.blocks)
        keep = __getattr__("memory_here")() if read else 0.0
        if (cores() if threads is None else threads) == 1:
            yield Serial(layout, keep)
        else:
            yield Threads(layout, threads, keep)
