"""Which of several equal processes this one is, where ``mpirun`` or ``srun`` started it. Needs neither MPI nor Dask."""

from __future__ import annotations

import os

__all__ = ["DRIVER", "SCHEDULER", "command", "speaks"]

SCHEDULER, DRIVER = 0, 1  # ranks, as dask-mpi has them; the others are workers
_NAMES = (  # of a rank and of the number of ranks: Open MPI's, MPICH's and Intel's, Slurm's own
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)


def speaks() -> bool:
    """Say whether this process is the one of its equals that tells what all of them find wrong."""
    rank, size = _place()
    return rank == min(DRIVER, size - 1)


def command() -> list[str]:
    """Return the words that start as many equals of this process again; none where it is alone."""
    _, size = _place()
    return ["mpirun", "-n", str(size)] if size > 1 else []


def _place() -> tuple[int, int]:
    """Return this process's rank, and the number of its equals."""
    found = [(int(os.environ[rank]), int(os.environ[size])) for rank, size in _NAMES if {rank, size} <= {*os.environ}]
    return found[0] if found else (0, 1)
