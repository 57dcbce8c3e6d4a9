"""What every worker of ours is told, through Dask's own configuration."""

from __future__ import annotations

from typing import Any

__all__ = ["OF_WORKERS"]

OF_WORKERS: dict[str, Any] = {
    # What does not fit is read again, which costs less than writing it to a disk and reading it from there.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}
