"""The classes of dask-jobqueue, imported in a way that leaves Ctrl-C as it is.

Its module ``runner`` lets Ctrl-C end the process with status 0 from the moment it is imported: a fit that was stopped
would pass for one that is done.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "HTCondorCluster",
    "JobQueueCluster",
    "LSFCluster",
    "OARCluster",
    "PBSCluster",
    "SGECluster",
    "SLURMCluster",
]


@contextmanager
def _keeping_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


with _keeping_interrupts():
    from dask_jobqueue.core import JobQueueCluster
    from dask_jobqueue.htcondor import HTCondorCluster
    from dask_jobqueue.lsf import LSFCluster
    from dask_jobqueue.oar import OARCluster
    from dask_jobqueue.pbs import PBSCluster
    from dask_jobqueue.sge import SGECluster
    from dask_jobqueue.slurm import SLURMCluster
