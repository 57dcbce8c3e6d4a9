"""Results as a Zarr array."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.core.buffer import default_buffer_prototype

from dask_em.errors import InternalError
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block
from dask_em.storage.destination import ARRAY, destination_at
from dask_em.storage.sinks import runs_of
from dask_em.storage.zarr import zarr_store

__all__ = ["ZarrSink"]

Array = np.ndarray[Any, Any]


class ZarrSink:
    """A Zarr array of format 3, (n,) or (n, width), written chunk by whole chunk.

    Parameters
    ----------
    url : str or path
        Where it will be; nothing may be there.
    rows : int
        How many there will be.
    width : int or None
        None for one number a row.
    dtype : numpy.dtype
        Of the results.
    chunk_rows : int
        Every block begins at a multiple of it, so no two blocks share a chunk.
    storage_options : mapping, optional
        For the remote file system.
    columns : sequence of str
        The names of the columns, noted as the attribute ``columns``.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the shape of the results and their place
        self,
        url: str | os.PathLike[str],
        rows: int,
        width: int | None,
        dtype: np.dtype[Any],
        chunk_rows: int,
        storage_options: Mapping[str, Any] | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        self._destination = destination_at(url, storage_options)
        self._shape = (rows,) if width is None else (rows, width)
        self._dtype, self._chunk_rows = np.dtype(dtype), chunk_rows
        self._columns = list(columns)

    def begin(self) -> None:
        """Make room; DataError where the destination exists. The array's metadata comes last."""
        self._destination.begin()

    def write(self, block: Block, parts: Iterator[Array]) -> Manifest:
        """Write a block's results; InternalError where it does not begin at a chunk."""
        if block.first % self._chunk_rows:
            raise InternalError(
                f"block {block.index} begins at row {block.first}, which is no multiple of {self._chunk_rows}"
            )
        place, metadata = self._destination.place, self._metadata()
        store = zarr.storage.StorePath(zarr_store(place, read_only=False))
        array: Any = zarr.Array(zarr.AsyncArray(metadata, store)).with_config({"write_empty_chunks": True})
        at, nbytes = block.first, 0
        for run in runs_of(self._chunk_rows, parts):
            rows = slice(at, at + len(run))
            place.attempt(lambda rows=rows, run=run: array.__setitem__(rows, run), "writing")  # type: ignore[misc]
            at, nbytes = at + len(run), nbytes + run.nbytes
        chunks = range(block.first // self._chunk_rows, -(-at // self._chunk_rows))
        self._destination.written([metadata.encode_chunk_key((i, *(0 for _ in self._shape[1:]))) for i in chunks])
        return Manifest(at - block.first, nbytes, ())

    def _metadata(self) -> Any:
        made = zarr.create_array(
            zarr.storage.MemoryStore(),
            shape=self._shape,
            dtype=self._dtype,
            chunks=(self._chunk_rows, *self._shape[1:]),
            zarr_format=3,
            attributes={"columns": self._columns} if self._columns else {},
        )
        return made.metadata

    def commit(self, manifest: Manifest) -> None:
        """Make an array of the chunks; InternalError where rows are missing."""
        told = self._metadata().to_buffer_dict(default_buffer_prototype())
        self._destination.commit(manifest, self._shape[0], {ARRAY: told[ARRAY].to_bytes()})

    def abandon(self) -> None:
        """Remove what was written."""
        self._destination.abandon()
