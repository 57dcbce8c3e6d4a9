"""Whether a value belongs to Dask, told without loading anything.

Where nobody imported a module, nobody has a value of its types.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["active_client", "is_array", "is_collection", "is_frame", "is_future"]


def is_array(value: object) -> bool:
    """Say whether a value is a dask array."""
    arrays = sys.modules.get("dask.array")
    return arrays is not None and isinstance(value, arrays.Array)


def is_frame(value: object) -> bool:
    """Say whether a value is a dask dataframe or one of its columns."""
    frames = sys.modules.get("dask.dataframe")
    return frames is not None and isinstance(value, frames.DataFrame | frames.Series)


def is_collection(value: object) -> bool:
    """Say whether a value is a dask array or dataframe."""
    return is_array(value) or is_frame(value)


def is_future(value: object) -> bool:
    """Say whether a value lies on a cluster."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(value, distributed.Future)


def active_client() -> Any:
    """Return the ``distributed.Client`` that the user works with, or None; never makes one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return client if client.status == "running" else None
