"""Processes of this machine, which nothing but this machine can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import LocalCluster

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.settings import OF_WORKERS
from dask_em.execution.resident import LEAST_MEMORY
from dask_em.execution.threads import cores

__all__ = ["Local"]

# A LocalCluster throws a worker away for good where it happens to be starting again this long after an earlier death.
# Ours restarts its workers itself, always.
_HEALING = {"distributed.deploy.lost-worker-timeout": "365 days"}


class Local(Launcher):
    """A ``distributed.LocalCluster``."""

    @contextmanager
    def launched(self) -> Iterator[Any]:
        _require_memory(self.settings.memory_limit)
        with dask.config.set(OF_WORKERS | _HEALING), self._started() as cluster:
            yield cluster

    def _started(self) -> Any:
        settings = self.settings
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
