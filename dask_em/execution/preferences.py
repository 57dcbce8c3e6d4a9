"""What users may say of execution through Dask's own configuration: files, environment or ``dask.config.set``.

``dask_em.patience``
    Seconds after which a pass in which nothing moved is tried again; 300 where nothing is said.
``dask_em.resident``
    Bytes of rows, over all workers, that may stay in memory between passes, such as ``"4GiB"`` or 0; ``"auto"`` where
    nothing is said: half of the memory that is free.
"""

from __future__ import annotations

import dask.config
import psutil
from dask.utils import parse_bytes

from dask_em.errors import InputError

__all__ = ["PATIENCE", "RESIDENT", "memory_here", "patience", "resident"]

PATIENCE, RESIDENT = "dask_em.patience", "dask_em.resident"
PATIENCE_SECONDS = 300.0  # a block takes about ten
OF_MEMORY = 0.5  # of what is free in this process


def patience() -> float:
    """Return the seconds after which a pass that stands still is tried again."""
    seconds = dask.config.get(PATIENCE, PATIENCE_SECONDS)
    try:
        if float(seconds) > 0:
            return float(seconds)
    except (TypeError, ValueError):
        pass
    raise InputError(f"Dask's setting {PATIENCE} is {seconds!r}; give seconds, more than 0")


def resident() -> float | None:
    """Return the bytes of rows that may stay in memory; None: as many as half of the free memory holds."""
    given = dask.config.get(RESIDENT, "auto")
    if given is None or given == "auto":
        return None
    try:
        size = parse_bytes(given)
        if size >= 0:
            return float(size)
    except (TypeError, ValueError, AttributeError):
        pass
    raise InputError(f"Dask's setting {RESIDENT} is {given!r}; give a size such as 4GiB, 0 for none, or auto")


def memory_here() -> float:
    """Return the bytes of rows that may stay in this process between passes."""
    given = resident()
    if given is not None:
        return given
    from distributed.system import memory_limit  # noqa: PLC0415  # slow to load, and knows containers' limits

    left: int = min(psutil.virtual_memory().available, memory_limit() - psutil.Process().memory_info().rss)
    return OF_MEMORY * max(0, left)
