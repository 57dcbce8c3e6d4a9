"""Results as a folder of Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_em.errors import InternalError
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block
from dask_em.storage.destination import destination_at
from dask_em.storage.sinks import runs_of

__all__ = ["ParquetSink"]

Array = np.ndarray[Any, Any]
GROUP_ROWS = 131_072  # of a row group


class ParquetSink:
    """A folder with one file a block, ``part-00000.parquet``, in order of the rows.

    Parameters
    ----------
    url : str or path
        Where it will be; nothing may be there.
    columns : sequence of str
        The names of the results' columns; one for one number a row.
    rows : int
        How many there will be.
    storage_options : mapping, optional
        For the remote file system.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        columns: Sequence[str],
        rows: int,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._destination = destination_at(url, storage_options)
        self._columns, self._rows = tuple(columns), rows

    def begin(self) -> None:
        """Make room; DataError where the destination exists."""
        self._destination.begin()

    def write(self, block: Block, parts: Iterator[Array]) -> Manifest:
        """Write a block's results to its file; a file is seen whole or not at all, and may be written again."""
        name = f"part-{block.index:05d}.parquet"
        with self._destination.file(name) as file:
            rows = self._write(file, runs_of(GROUP_ROWS, parts))
            nbytes = file.tell()
        self._destination.written([name])
        return Manifest(rows, nbytes, (name,))

    def _write(self, file: IO[bytes], runs: Iterator[Array]) -> int:
        rows, writer = 0, None
        for run in runs:
            table = self._table(run)
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
            rows += len(run)
        if writer is not None:
            writer.close()
        return rows

    def _table(self, run: Array) -> Any:
        columns = run[:, None] if run.ndim == 1 else run
        if columns.shape[1] != len(self._columns):
            raise InternalError(f"{columns.shape[1]} columns of results came for {len(self._columns)} names")
        arrays = [np.ascontiguousarray(columns[:, position]) for position in range(columns.shape[1])]
        return pa.table(arrays, names=list(self._columns))

    def commit(self, manifest: Manifest) -> None:
        """Show the folder, without files of attempts that died; InternalError where rows are missing."""
        self._destination.commit(manifest, self._rows, {})

    def abandon(self) -> None:
        """Remove what was written."""
        self._destination.abandon()
