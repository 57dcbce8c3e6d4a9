"""From whatever a user calls data to a reducer over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dask_em.errors import InputError
from dask_em.execution import active_client, collection_source, counted, is_collection, memory_of_thread, open_reducer
from dask_em.execution.recognition import require_client
from dask_em.plan import ModelSize, Plan, plan
from dask_em.reduction import Reducer
from dask_em.storage import Source, open_source

__all__ = ["HERE", "is_lazy", "planned", "reading", "source_of", "table"]

HERE = object()  # in the place of a client: compute in this process, whatever client is active


def source_of(data: Any, columns: Sequence[str] | None = None, sample_weight: Any = None) -> Source:
    """Return the source for an array, frame, collection, path, URL, or a source itself.

    Parameters
    ----------
    columns
        The names to select, where the data has named columns.
    sample_weight
        None, an array-like (n,), or the name of a column.

    Raises
    ------
    InputError
        The data cannot be used; the message says why.
    """
    opener = collection_source if is_collection(data) else open_source
    return opener(_rows_in_memory(data), columns=columns if _has_columns(data) else None, weights=sample_weight)


def _has_columns(data: Any) -> bool:
    """Say whether columns are chosen by name: frames, and files whose format may have names."""
    return hasattr(data, "columns") or isinstance(data, str | Path)


def _rows_in_memory(data: Any) -> Any:
    """Return a list as an array; refuse what no array of rows can be, in scikit-learn's words where it has some."""
    if not isinstance(data, np.ndarray | list | tuple):
        return data
    try:
        array = data if isinstance(data, np.ndarray) else np.asarray(data)
    except ValueError:
        raise InputError("the rows of the list are not of equal length; give each the same columns") from None
    if array.dtype.kind == "c":
        raise InputError("Complex data not supported: give real numbers, the two parts as columns for example")
    if array.ndim == 2 and array.shape[1] == 0:
        raise InputError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required; give a column"
        )
    return array


def table(data: Any) -> Any:
    """Return the data; refuse an array in memory that is not rows and columns, in scikit-learn's words."""
    data = _rows_in_memory(data)
    if isinstance(data, np.ndarray) and data.ndim == 1:
        raise InputError(
            f"Expected 2D array, got 1D array instead:\narray={data}.\nReshape your data either using "
            "array.reshape(-1, 1) if your data has a single feature or array.reshape(1, -1) if it contains a single "
            "sample."
        )
    return data


def is_lazy(data: Any) -> bool:
    """Say whether predictions for this data are lazy: for everything that is not in memory."""
    return not (isinstance(data, np.ndarray | list | tuple) or type(data).__module__.partition(".")[0] == "pandas")


def planned(source: Source, size: ModelSize, client: Any = None, align: int = 1) -> Plan:
    """Return the plan for a source; a source that does not know its rows is counted first, in one read."""
    return plan(source, counted(source, _where(client)), size, align)


def _where(client: Any) -> Any:
    """Return the client to compute on: the one given, or the active one; None: this process."""
    where = None if client is HERE else client or active_client()
    if where is not None:
        require_client(where)
    return where


@contextmanager
def reading(
    source: Source, size: ModelSize, client: Any = None, align: int = 1, *, once: bool = False, strict: bool = False
) -> Iterator[Reducer]:
    """Give a reducer over the source: on the client (:data:`HERE`: this process), or the user's active one, or here.

    Rows that are read ``once`` do not stay in memory; workers must compute alike where it is ``strict``.
    """
    where, plan = _where(client), planned(source, size, client, align)
    if where is not None:
        plan.require_memory(memory_of_thread(where), "Give workers more memory or fewer threads")
    with open_reducer(plan.layout, where, strict=strict, once=once) as reducer:
        yield reducer
