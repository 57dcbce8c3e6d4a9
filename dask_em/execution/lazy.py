"""A function of rows as a lazy Dask collection, aligned with the one it was computed from."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import delayed
from dask.highlevelgraph import HighLevelGraph

from dask_em.execution.collections import ArrayReader, FrameReader, array_source, frame_source, two_dimensional
from dask_em.execution.recognition import is_collection, is_frame
from dask_em.execution.tasks import Parcel, held_by, keep, opened, parcel, with_held, without_held
from dask_em.rows import Rows
from dask_em.storage.source import Source

__all__ = ["lazy_rows"]

Array = np.ndarray[Any, Any]
Kernel = Callable[[Rows], Array]

TRAVELS = 64 * 1024**2  # bytes of parameters, over all chunks, that may travel inside the tasks


def lazy_rows(
    data: Any,
    kernel: Kernel,
    width: int | None,
    dtype: npt.DTypeLike,
    columns: Sequence[str] | None = None,
    feature_axis: int | None = None,
) -> Any:
    """Return ``kernel``'s result for every row of ``data``, lazily.

    Parameters
    ----------
    data
        A dask array, a dask dataframe, or a source.
    kernel
        A picklable function of rows that returns ``(n,)``, or ``(n, width)`` where a width is given. It sees each
        chunk's rows at once, numbered from 0.
    columns, feature_axis
        See :func:`~dask_em.execution.collections.collection_source`.

    Returns
    -------
    collection
        For a dask array a dask array with the same chunks along the rows, unknown ones too. For a dask dataframe a
        series, or a frame with the columns 0 to width - 1, with its partitions, divisions and index. For a source a
        dask array whose chunks are its atoms.

    Raises
    ------
    InputError
        The collection cannot be used.
    """
    result = np.dtype(dtype)
    if is_frame(data):
        return _over_frame(data, kernel, width, result, columns)
    if is_collection(data):
        return _over_array(data, kernel, width, result, feature_axis)
    return _over_source(data, kernel, width, result)


def _argument(kernel: Kernel, chunks: int) -> Any:
    """Return the kernel as an argument of tasks: inside each of them, or made once by a task of its own."""
    packed = parcel(kernel)
    if len(packed.data) * chunks <= TRAVELS:
        return packed
    return delayed(keep, pure=False)(packed, dask_key_name=f"par-0{uuid.uuid4().hex[:12]}")


def _over_array(array: Any, kernel: Kernel, width: int | None, dtype: np.dtype[Any], feature_axis: int | None) -> Any:
    reader = array_source(array, None, feature_axis).reader
    array = two_dimensional(array, feature_axis)
    per_row = int(np.prod(array.shape[1:-1]))
    rows = tuple(size * per_row for size in array.chunks[0])
    return array.map_blocks(
        partial(_of_values, reader=reader),
        kernel=_argument(kernel, len(rows)),
        name=f"predict-0{uuid.uuid4().hex[:12]}",
        dtype=dtype,
        chunks=(rows,) if width is None else (rows, (width,)),
        drop_axis=list(range(1 if width is None else 2, array.ndim)),
        meta=np.empty((0,) * (1 if width is None else 2), dtype),
    )


def _of_values(values: Any, kernel: Any, reader: ArrayReader) -> Array:
    result: Array = opened(kernel)(reader.rows([values]))
    return result


def _over_frame(frame: Any, kernel: Kernel, width: int | None, dtype: np.dtype[Any], columns: Any) -> Any:
    frame = frame.to_frame() if frame.ndim == 1 else frame
    reader = frame_source(frame, columns, None).reader
    names = reader.schema.names
    chosen = frame if names is None else frame[list(names)]
    meta = (None, dtype) if width is None else [(column, dtype) for column in range(width)]
    function = partial(_of_partition, reader=reader, width=width)
    return chosen.map_partitions(function, _argument(kernel, frame.npartitions), meta=meta)


def _of_partition(frame: Any, kernel: Any, reader: FrameReader, width: int | None) -> Any:
    result = opened(kernel)(reader.rows([frame]))
    return pd.Series(result, frame.index) if width is None else pd.DataFrame(result, frame.index)


def _over_source(source: Source, kernel: Kernel, width: int | None, dtype: np.dtype[Any]) -> Any:
    atoms = source.atoms()
    name = f"predict-0{uuid.uuid4().hex[:12]}"
    sent, argument = parcel(source), _argument(kernel, len(atoms))
    inside = isinstance(argument, Parcel)
    layer: dict[Any, Any] = {}
    for number, atom in enumerate(atoms):
        held = held_by([atom])
        task = _OfAtom(sent, parcel(without_held(atom)), tuple(held)), argument if inside else argument.key
        layer[(name, number) if width is None else (name, number, 0)] = (*task, *held.values())
    graph = HighLevelGraph.from_collections(name, layer, [] if inside else [argument])
    rows = tuple(np.nan if atom.rows is None else atom.rows for atom in atoms)
    chunks = (rows,) if width is None else (rows, (width,))
    return da.Array(graph, name, chunks, dtype)  # type: ignore[no-untyped-call]  # dask's own


@dataclass(frozen=True)
class _OfAtom:
    source: Parcel
    atom: Parcel
    held: tuple[Hashable, ...]

    def __call__(self, kernel: Any, *values: Any) -> Array:
        atom = with_held(self.atom.open(), dict(zip(self.held, values, strict=True)))
        result: Array = opened(kernel)(self.source.open().load(atom))
        return result
