"""What every worker of ours is told, through Dask's own configuration, and what it needs."""

from __future__ import annotations

from typing import Any

from dask.utils import parse_bytes

from dask_em.errors import InputError
from dask_em.execution.resident import LEAST_MEMORY

__all__ = ["OF_WORKERS", "SLOW", "environment_of_workers", "require_memory"]

OF_WORKERS: dict[str, Any] = {
    # What does not fit is read again, which costs less than writing it to a disk and reading it from there.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Dask looks at itself so often that a worker takes 3% of a core, and the scheduler 4%, when nothing is to be done:
    # a pass of two workers on two cores took 5% longer. The dashboard's pages show the same, a little coarser.
    "distributed.worker.profile.interval": "500ms",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
}
# Adapting to the load: a pass ends with few tasks and begins with many, and nobody is sent away who is needed then.
SLOW = {"interval": "30s", "wait_count": 20, "target_duration": "5m"}


def environment_of_workers() -> dict[str, str]:
    """Return what workers are told, as the variables of a process's environment that Dask reads."""
    return {f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value) for key, value in OF_WORKERS.items()}


def require_memory(limit: str | None) -> None:
    """Refuse a worker that has no room for itself, or whose memory is no size.

    Raises
    ------
    InputError
        It is one of these.
    """
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
