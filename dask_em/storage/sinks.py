"""Where results of blocks go. Nothing is seen under a destination's name before everything is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from dask_em.errors import ConfigError, InternalError
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block
from dask_em.storage.destination import require_all
from dask_em.storage.late import member
from dask_em.storage.location import Location

__all__ = ["ArraySink", "open_sink", "runs_of"]

Array = np.ndarray[Any, Any]


def runs_of(rows: int, parts: Iterator[Array]) -> Iterator[Array]:
    """Join and cut arrays to runs of exactly ``rows`` rows (the last may be shorter)."""
    waiting: list[Array] = []
    held = 0
    for part in parts:
        at = 0
        while at < len(part):
            piece = part[at : at + rows - held]
            waiting.append(piece)
            held, at = held + len(piece), at + len(piece)
            if held == rows:
                yield np.concatenate(waiting)
                waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting)


@dataclass(frozen=True, eq=False)
class ArraySink:
    """Results in memory, for the threads of this process. ``width`` None gives (n,), else (n, width)."""

    rows: int
    width: int | None
    dtype: np.dtype[Any]
    result: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = (self.rows,) if self.width is None else (self.rows, self.width)
        object.__setattr__(self, "result", np.empty(shape, self.dtype))

    def __reduce__(self) -> NoReturn:
        raise InternalError("results in memory cannot be written from another process; write them to a file")

    def begin(self) -> None:
        """Do nothing: room was made when the sink was."""

    def write(self, block: Block, parts: Iterator[Array]) -> Manifest:
        """Write a block's results to its rows."""
        at = block.first
        for part in parts:
            self.result[at : at + len(part)] = part
            at += len(part)
        return Manifest(at - block.first, (at - block.first) * self.result[:1].nbytes, ())

    def commit(self, manifest: Manifest) -> None:
        """Check that every row is there."""
        require_all(manifest, self.rows, "memory")

    def abandon(self) -> None:
        """Do nothing: the memory goes with the sink."""


def open_sink(  # noqa: PLR0913, PLR0917  # the shape of the results and their place
    destination: str | os.PathLike[str],
    rows: int,
    width: int | None,
    names: Sequence[str],
    dtype: np.dtype[Any],
    chunk_rows: int,
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Return the sink for a destination: a Zarr array (.zarr), or a folder of Parquet files (.parquet).

    Raises
    ------
    ConfigError
        The ending is another.
    """
    location = Location.of(destination, storage_options)
    if location.suffix == ".zarr":
        return member("zarr_sink", "ZarrSink")(destination, rows, width, dtype, chunk_rows, storage_options, names)
    if location.suffix == ".parquet":
        return member("parquet_sink", "ParquetSink")(destination, names, rows, storage_options)
    raise ConfigError(f"results cannot be written to {location.name}; let its name end with .zarr or .parquet")
