"""Rows that are dear to make, written once to Zarr and read from there in every pass."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dask_em.errors import DataError, InputError
from dask_em.estimators.reading import reading, source_of, table
from dask_em.plan import ModelSize
from dask_em.rows import Rows, Schema
from dask_em.storage import Source, open_sink, open_source
from dask_em.storage.location import Location
from dask_em.storage.secrets import without_credentials
from dask_em.storage.source import Atom

__all__ = ["find_spooled", "spool", "spooled"]

Array = np.ndarray[Any, Any]
CHUNK_BYTES, CHUNK_LEAST = 16 * 2**20, 1024  # bytes and rows of a chunk
WEIGHT = "weight"

logger = logging.getLogger("dask_em")


class Spooled:
    """A Zarr array of spooled rows as the source that they came from: its names, and weights as the last column."""

    def __init__(self, array: Source, schema: Schema, weighted: bool) -> None:
        self._array, self._weighted = array, weighted
        self.schema, self.name = dataclasses.replace(schema, dtype=array.schema.dtype), array.name

    def atoms(self) -> Sequence[Atom]:
        """See :class:`~dask_em.storage.source.Source`."""
        return self._array.atoms()

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """See :class:`~dask_em.storage.source.Source`."""
        found = self._array.load(atom, rows)
        if not self._weighted:
            return found
        values = np.ascontiguousarray(found.values[:, :-1])
        return dataclasses.replace(found, values=values, weight=np.ascontiguousarray(found.values[:, -1]))


def spool(
    data: Any,
    path: str | os.PathLike[str],
    *,
    sample_weight: Any = None,
    client: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """Write rows to a Zarr array once, and return the source over it; one that is there already is taken as it is.

    Parameters
    ----------
    data : array, frame, collection, path, URL or Source
        Rows (n, d), such as a Dask collection whose chunks are slow to compute, or differ each time they are.
    path : str or path
        Where the array will be, a URL too; its name ends with ``.zarr``. It is an array when it is complete.
    sample_weight : array-like (n,) or the name of a column, optional
        Weights go along as a last column, those of a Source of your own too; rows are then stored as float64.
    client : distributed.Client, optional
        Where to compute; the active one, or local threads, where none is given.
    storage_options : mapping, optional
        For the file system of a URL.

    Raises
    ------
    DataError
        Something else is at the path: another number of rows, or other columns.
    InputError
        The name does not end with ``.zarr``.
    """
    source = source_of(table(data), sample_weight=sample_weight)
    weighted = sample_weight is not None or source is data  # a Source may have weights
    return spooled(source, path, weighted, client, storage_options)


def spooled(
    source: Source,
    path: str | os.PathLike[str],
    weighted: bool,
    client: Any,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """Return a source whose rows are read from a Zarr array, written now where it is not there yet."""
    found, name = find_spooled(source, path, weighted, storage_options), without_credentials(os.fspath(path))
    if found is not None:
        logger.info("the rows are read from %s, where they were spooled before; remove it to spool anew", name)
        return found
    columns = _columns(source.schema, weighted)
    dtype = np.dtype(np.float64) if weighted else source.schema.dtype
    chunk = max(CHUNK_LEAST, CHUNK_BYTES // (len(columns) * dtype.itemsize))
    size = ModelSize(1, 2 * source.schema.features)  # blocks of the smallest model: nothing is computed
    with reading(source, size, client, align=chunk, once=True) as reducer:
        rows = reducer.layout.rows
        sink = open_sink(path, rows, len(columns), columns, dtype, min(chunk, rows), storage_options)
        reducer.write(_with_weights if weighted else _values, sink)
    logger.info("%d rows were spooled to %s", rows, name, extra={"event": "spooled"})
    return Spooled(open_source(path, storage_options=storage_options), source.schema, weighted)


def find_spooled(
    source: Source, path: str | os.PathLike[str], weighted: bool, storage_options: Mapping[str, Any] | None = None
) -> Source | None:
    """Return the source over rows that were spooled before; None where nothing is at the path.

    Raises
    ------
    DataError
        What is there is not what this source would be spooled to.
    InputError
        The name does not end with ``.zarr``.
    """
    place = Location.of(path, storage_options)
    if place.suffix != ".zarr":
        raise InputError(f"rows are spooled to Zarr, and the name {place.name} does not end with .zarr; let it")
    if not place.exists():
        return None
    array = open_source(path, format="zarr", storage_options=storage_options)
    wanted = _columns(source.schema, weighted)
    found = _columns_at(place)
    if found != wanted:
        held = f"the columns {', '.join(found)}" if found else "an array that was not spooled"
        raise DataError(
            f"{place.name} holds {held}, and the rows of {source.name} take {', '.join(wanted)}; "
            "name another place, or remove it"
        )
    there, here = (_rows(of) for of in (array, source))
    if here is not None and here != there:
        raise DataError(
            f"{place.name} holds {there:,} rows, and {source.name} has {here:,}; remove it to spool them anew"
        )
    return Spooled(array, source.schema, weighted)


def _columns(schema: Schema, weighted: bool) -> list[str]:
    names = schema.names or [f"column {i}" for i in range(schema.features)]
    return [*map(str, names), *([WEIGHT] if weighted else [])]


def _columns_at(place: Location) -> list[str] | None:
    """Return the columns that the sink noted; None where another program wrote the array."""
    try:
        noted = json.loads(place.attempt(lambda: place.filesystem.cat_file(place.child("zarr.json").path)))
    except FileNotFoundError:  # an array of format 2
        return None
    columns: list[str] | None = noted.get("attributes", {}).get("columns")
    return columns


def _rows(source: Source) -> int | None:
    counts = [atom.rows for atom in source.atoms()]
    return None if None in counts else sum(filter(None, counts))


def _values(rows: Rows) -> Array:
    return rows.values


def _with_weights(rows: Rows) -> Array:
    return np.column_stack([rows.values, rows.weight])
