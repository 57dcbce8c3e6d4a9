"""Whether a value belongs to Dask, told without loading anything.

Where nobody imported a module, nobody has a value of its types.
"""

from __future__ import annotations

import sys
from typing import Any

from dask_em.errors import InputError

__all__ = ["active_client", "is_array", "is_collection", "is_frame", "is_future", "require_client"]


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


def require_client(client: Any) -> None:
    """Refuse what is no ``distributed.Client``, or one that no longer works.

    Raises
    ------
    InputError
        It is something else, closed, or asynchronous.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        raise InputError(
            f"the client is a {type(client).__name__}; give a distributed.Client, or None for this process"
        )
    if client.asynchronous:
        raise InputError("the client is asynchronous, which a fit cannot wait for; make one with asynchronous=False")
    if client.status != "running":
        raise InputError(f"the client is {client.status}; connect a new distributed.Client, or give None")
