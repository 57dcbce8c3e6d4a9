"""The ranks of ``mpirun``: all run the same program, and each takes its part here.

Rank 0 becomes the scheduler, rank 1 goes on as the driver, the others become workers (dask-mpi's own order). When the
driver ends, however it ends, it dismisses the others: ``mpirun`` ends with its status, and never waits for ever.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dask
import psutil
from distributed import Client

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.interfaces import loopback
from dask_em.execution.launchers.security import of_processes, security_of
from dask_em.execution.launchers.settings import OF_WORKERS, require_memory
from dask_em.execution.ranks import DRIVER, SCHEDULER

try:
    from dask_mpi import initialize
    from mpi4py.MPI import COMM_WORLD, Get_processor_name
except RuntimeError as error:  # mpi4py is there, and finds no MPI
    raise InputError(
        f"cluster.kind mpi needs an MPI library ({' '.join(str(error).split())}); install one, such as Debian's "
        "openmpi-bin, or load your machine's module of it"
    ) from error

__all__ = ["MPI"]

LEAST = 3  # ranks: a scheduler, the driver and a worker
DISMISSED = 5.0  # seconds, after which the others are taken for lost
LOST = 3  # the status of ``mpirun`` then
DRIVES = "dask_em.mpi_scheduler"  # in Dask's configuration: the scheduler that this process has, while it drives

logger = logging.getLogger("dask_em")


class MPI(Launcher):
    """The scheduler and the workers that the other ranks have become."""

    @contextmanager
    def launched(self) -> Iterator[Any]:
        with self.enlisted():
            yield dask.config.get(DRIVES)

    @contextmanager
    def enlisted(self) -> Iterator[None]:
        if dask.config.get(DRIVES, None) is not None:
            yield
            return
        faults = [fault for fault in COMM_WORLD.allgather(self._fault()) if fault is not None]
        if faults and COMM_WORLD.Get_rank() == min(DRIVER, COMM_WORLD.Get_size() - 1):
            raise InputError(faults[0])
        if faults:
            raise SystemExit(0)  # the status of mpirun is that of who tells it
        security = security_of(self.settings) if COMM_WORLD.Get_rank() == SCHEDULER else None
        with dask.config.set(COMM_WORLD.bcast(OF_WORKERS | of_processes(security), root=SCHEDULER)):
            if not self._drives():
                raise SystemExit(0)
            with dask.config.set({DRIVES: dask.config.get("scheduler-address")}):
                try:
                    yield
                finally:
                    _dismiss()

    def _fault(self) -> str | None:
        """Return what keeps this rank from taking its part."""
        ranks, workers = COMM_WORLD.Get_size(), self.settings.workers
        if ranks < LEAST:
            return (
                f"cluster.kind mpi divides the ranks of mpirun, and there {'is' if ranks == 1 else 'are'} {ranks}: a "
                f"scheduler, the driver and a worker need {LEAST}; start it as mpirun -n 4 dask-em fit CONFIG"
            )
        if workers is not None and workers != ranks - 2:
            return (
                f"cluster.workers is {workers}, and of the {ranks} ranks of mpirun {ranks - 2} are workers; start "
                f"{workers + 2} ranks (mpirun -n {workers + 2}), or leave cluster.workers out"
            )
        interface = self.settings.interface
        if interface is not None and interface not in psutil.net_if_addrs():
            return (
                f"cluster.interface is {interface}, which {Get_processor_name()} does not have; it has "
                f"{', '.join(psutil.net_if_addrs())}"
            )
        try:
            require_memory(self.settings.memory_limit)
            security_of(self.settings)
            inspect.signature(initialize).bind(**(dict(self.settings.kwargs) | {"exit": False}))
        except InputError as error:
            return str(error)
        except TypeError as error:
            return f"cluster.kwargs do not suit dask_mpi.initialize: {error}"
        return None

    def _drives(self) -> bool:
        """Say whether this rank drives; the others serve it, and come back when it has ended."""
        arguments = self._arguments()
        if COMM_WORLD.Get_rank() == DRIVER:
            return bool(initialize(**arguments))
        # They leave signals to the driver, which dismisses them, and words: what a task raises is told there. A worker
        # that is dismissed while it reports to the scheduler would log that as an error.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            return bool(initialize(**arguments))
        except Exception as error:  # whatever it is: the other ranks wait for this one, and would for ever
            logger.error("rank %d of mpirun failed: %s: %s", COMM_WORLD.Get_rank(), type(error).__name__, error)  # noqa: TRY400
            COMM_WORLD.Abort(LOST)
            raise

    def _arguments(self) -> Mapping[str, Any]:
        """Return what ``dask_mpi.initialize`` is called with."""
        machines = set(COMM_WORLD.allgather(Get_processor_name()))
        interface = self.settings.interface or (loopback() if len(machines) == 1 else None)
        return {
            "interface": interface,
            "nthreads": self.settings.threads_per_worker,
            "memory_limit": self.settings.memory_limit or "auto",
            "dashboard_address": "127.0.0.1:0",
            "protocol": "tls" if dask.config.get("distributed.comm.require-encryption") else None,
            **self.settings.kwargs,
            "exit": False,
        }


def _dismiss() -> None:
    """Let the other ranks end; where they cannot be told, end them when this one does."""
    try:
        with Client(  # type: ignore[no-untyped-call]  # distributed's own
            dask.config.get(DRIVES), timeout=DISMISSED, set_as_default=False
        ) as client:
            client.shutdown()
    except OSError:
        atexit.register(COMM_WORLD.Abort, LOST)
