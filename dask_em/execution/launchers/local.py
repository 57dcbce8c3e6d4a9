"""Processes of this machine, which nothing but this machine can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import LocalCluster, Security

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.security import security_of
from dask_em.execution.launchers.settings import OF_WORKERS, require_memory
from dask_em.execution.threads import cores

__all__ = ["HEALING", "Local"]

# A LocalCluster throws a worker away for good where it happens to be starting again this long after an earlier death.
# Ours restarts its workers itself, always.
HEALING = {"distributed.deploy.lost-worker-timeout": "365 days"}


class Local(Launcher):
    """A ``distributed.LocalCluster``."""

    @contextmanager
    def launched(self) -> Iterator[Any]:
        require_memory(self.settings.memory_limit)
        with dask.config.set(OF_WORKERS | HEALING), self._started(security_of(self.settings)) as cluster:
            yield cluster

    def _started(self, security: Security | None) -> Any:
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
                security=security,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"the local workers could not be started: {' '.join(str(error).split())}. "
                "Ask for fewer (cluster.workers) or compute in this process (cluster.kind: threads)"
            ) from error
