"""Processes of this machine, which nothing but this machine can reach."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
        if _is_imported_by_a_worker():
            raise SystemExit(1)  # in silence: the script itself says what is wrong
        nannies = logging.getLogger("distributed.nanny")
        level = nannies.level
        try:
            with dask.config.set(OF_WORKERS | HEALING), self._started(security_of(self.settings)) as cluster:
                try:
                    yield cluster
                finally:
                    nannies.setLevel(logging.ERROR)  # on a busy machine workers take long to end, and are killed
        finally:
            nannies.setLevel(level)

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
                f"the local workers could not be started: {' '.join(str(error).split()).rstrip('.')}. "
                f"{_remedy()} fewer (cluster.workers) or compute in this process (cluster.kind: threads)"
            ) from error


def _is_imported_by_a_worker() -> bool:
    """Say whether this is a worker that starts, and imports the script which started it, to know what stands there."""
    main = sys.modules.get("__mp_main__")  # multiprocessing's name of it, and afterwards that of the main module
    return main is not None and main is not sys.modules["__main__"]


def _remedy() -> str:
    """Return what a script most likely lacks, where one starts the workers."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None or Path(script).name == "dask-em":
        return "Ask for"
    return (
        f"Each worker imports {Path(script).name} first: what it shall not do there has to stand below the line "
        'if __name__ == "__main__": of it. Where it does, ask for'
    )
