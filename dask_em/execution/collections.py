"""The user's own Dask collections as sources: nothing is recognised by guessing, a chunk is a sub-graph.

What is a mean, a sort or a file stays hidden: the collection's graph is optimised once, and each chunk or partition
becomes an atom whose sub-graph is cut out and run where the block is computed, its tasks one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dask.array as da
import numpy as np
from dask.utils import ensure_dict

from dask_em.errors import DaskEMError, DataError, InputError, InternalError, did_you_mean
from dask_em.execution.chunks import Chunk, chunks_of
from dask_em.execution.recognition import is_array, is_collection, is_frame
from dask_em.rows import Rows, Schema
from dask_em.storage.columns import require_numeric
from dask_em.storage.source import Atom
from dask_em.storage.weighted import row_weights

__all__ = ["ArrayReader", "CollectionSource", "FrameReader", "collection_source", "is_collection", "two_dimensional"]

Array = np.ndarray[Any, Any]
R = TypeVar("R", "ArrayReader", "FrameReader")


@dataclass(frozen=True)
class ArrayReader:
    """Rows of array chunks: the features are the last axis, the others are rows in C order."""

    schema: Schema

    def rows(self, outputs: Sequence[Any]) -> Rows:
        """Make rows of a chunk and its weights."""
        if isinstance(outputs[0], np.ma.MaskedArray):
            raise DataError("it is a masked array; give the masked values a value first, with da.ma.filled")
        values = np.asarray(outputs[0])
        values = values.reshape(values.size // self.schema.features, self.schema.features)
        return _rows(values.astype(self.schema.dtype, order="C", copy=False), outputs[1:])


@dataclass(frozen=True)
class FrameReader:
    """Rows of dataframe partitions: the first columns, and the weight by name where it has one."""

    schema: Schema
    weight: str | None = None

    def rows(self, outputs: Sequence[Any]) -> Rows:
        """Make rows of a partition and its weights."""
        frame = outputs[0]
        weights = outputs[1:] if self.weight is None else [_numbers(frame[self.weight], np.dtype(np.float64))]
        values = np.empty((len(frame), self.schema.features), self.schema.dtype)
        for position in range(self.schema.features):
            values[:, position] = _numbers(frame.iloc[:, position], self.schema.dtype)
        return _rows(values, weights)


def _numbers(column: Any, dtype: np.dtype[Any]) -> Array:
    """Return a column as numbers; what is null becomes NaN, for the policy on missing values to find."""
    result: Array = column.to_numpy(dtype, na_value=np.nan) if dtype.kind == "f" else column.to_numpy(dtype)
    return result


def _rows(values: Array, weights: Sequence[Any]) -> Rows:
    if not weights:
        return Rows.of(values)
    given, double = weights[0], np.dtype(np.float64)
    weight = _numbers(given, double) if hasattr(given, "to_numpy") else np.asarray(given, double)
    if weight.shape != values.shape[:1]:
        raise DataError(f"it has {len(values)} rows and weights of shape {weight.shape}; give each row one weight")
    return Rows.of(values, weight)


@dataclass(frozen=True)
class CollectionSource(Generic[R]):
    """A Dask collection as a Source. Its atoms stay with the driver; a copy on a worker reads those it is given."""

    schema: Schema
    name: str
    reader: R
    chunks: tuple[Atom, ...] | None

    def atoms(self) -> Sequence[Atom]:
        """See :class:`~dask_em.storage.source.Source`."""
        if self.chunks is None:
            raise InternalError(f"a worker's copy of the {self.name} has no list of atoms")
        return self.chunks

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """See :class:`~dask_em.storage.source.Source`."""
        chunk: Chunk = atom.where
        try:
            return self.reader.rows(chunk.compute())[rows]
        except DataError as error:
            raise DataError(f"{atom.place} cannot be used: {error}") from error
        except DaskEMError:
            raise
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{atom.place} could not be computed: {text}. Compute it by itself to see more, or persist the "
                "collection first"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "chunks": None}


def collection_source(
    collection: Any, columns: Sequence[str] | None = None, weights: Any = None, feature_axis: int | None = None
) -> CollectionSource[Any]:
    """Make a source of a dask array or dataframe; an atom is a chunk along the rows, or a partition.

    Parameters
    ----------
    collection
        A dask array, whose chunks may be uneven or of unknown length; or a dask dataframe.
    columns
        Names of a dataframe's columns to use; all of them where none are named.
    weights
        One weight a row: a dask array or series, whose chunks must be as many as the rows' where lengths are unknown;
        an array in memory, for a dask array of known length; or the name of a column.
    feature_axis
        The axis of the features of an array with more than two; the others are flattened to rows in C order.

    Raises
    ------
    InputError
        The collection cannot be used, or the weights do not fit it.
    """
    if is_frame(collection):
        if feature_axis is not None:
            raise InputError("feature_axis belongs to arrays; a dataframe's features are its columns: leave it out")
        return frame_source(collection, columns, weights)
    if not is_array(collection):
        raise InputError(f"{type(collection).__name__} is no dask array or dataframe; give one of these")
    if columns is not None:
        raise InputError("columns name the columns of a dataframe; slice the array instead: X[:, [0, 2]]")
    return array_source(collection, weights, feature_axis)


def two_dimensional(array: Any, feature_axis: int | None) -> Any:
    """Return an array with its features last, whose chunks are runs of rows in C order."""
    if array.ndim == 0:
        raise InputError("the dask array has no axes; give one with rows")
    if array.ndim == 1:
        array, feature_axis = array[:, None], None
    if array.ndim > 2 and feature_axis is None:
        raise InputError(
            f"the dask array has {array.ndim} axes; say which holds the features: make it the last and reshape to "
            "rows x columns, X.reshape(-1, X.shape[-1])"
        )
    axis = -1 if feature_axis is None else feature_axis
    if not -array.ndim <= axis < array.ndim:
        raise InputError(f"feature_axis={axis} is no axis of an array with {array.ndim}; choose 0 to {array.ndim - 1}")
    if axis % array.ndim != array.ndim - 1:
        order = [i for i in range(array.ndim) if i != axis % array.ndim]
        array = array.transpose([*order, axis % array.ndim])
    if any(np.isnan(size) for size in array.shape[1:]):
        raise InputError("only the number of rows may be unknown; call compute_chunk_sizes() on the dask array first")
    whole = {i: -1 for i in range(1, array.ndim) if len(array.chunks[i]) > 1}
    return array.rechunk(whole) if whole else array


def array_source(array: Any, weights: Any, feature_axis: int | None) -> CollectionSource[ArrayReader]:
    """See :func:`collection_source`."""
    array = two_dimensional(array, feature_axis)
    schema = Schema(int(array.shape[-1]), np.dtype(array.dtype))
    per_row = int(np.prod(array.shape[1:-1]))  # rows of each entry along the first axis
    parts = [array] if weights is None else [array, _array_weights(array, weights, per_row)]
    rows = [None if np.isnan(size) else int(size) * per_row for size in array.chunks[0]]
    name = "dask array"
    return CollectionSource(schema, name, ArrayReader(schema), _atoms(parts, rows, schema, name))


def _array_weights(array: Any, weights: Any, per_row: int) -> Any:
    chunks = tuple(size * per_row for size in array.chunks[0])
    if isinstance(weights, str):
        raise InputError(f"a dask array has no named columns, so no weights {weights!r}; give an array of weights")
    if is_frame(weights):
        weights = weights.to_dask_array()
    rows = sum(chunks)
    if not is_array(weights):
        if is_collection(weights) or np.isnan(rows):
            raise InputError(
                "weights of a dask array of unknown length are a dask array with its chunks; make them one"
            )
        weights = row_weights(weights, "the weights for the dask array")
        if len(weights) == rows:
            weights = da.from_array(weights, chunks=(chunks,))  # type: ignore[no-untyped-call]  # dask's own
    require_numeric(weights.dtype, "the weights for the dask array")
    known = not np.isnan(rows + sum(weights.shape))
    if weights.ndim != 1 or (known and weights.shape[0] != rows):
        raise InputError(f"weights of shape {weights.shape} do not fit {rows} rows; give each row one weight")
    if known:
        return weights.rechunk((chunks,))
    if len(weights.chunks[0]) != len(chunks):
        raise InputError(
            f"weights have {len(weights.chunks[0])} chunks and the dask array {len(chunks)} of unknown length; "
            "make them alike, or call compute_chunk_sizes() on both"
        )
    return weights


def frame_source(frame: Any, columns: Sequence[str] | None, weights: Any) -> CollectionSource[FrameReader]:
    """See :func:`collection_source`."""
    frame = frame.to_frame() if frame.ndim == 1 else frame
    known = list(frame.columns)
    if len(set(known)) < len(known):
        raise InputError("a dataframe's columns need names, each its own; rename them first")
    weight = weights if isinstance(weights, str) else None
    names = tuple(columns) if columns is not None else tuple(name for name in known if name != weight)
    named = columns is not None or all(isinstance(name, str) for name in known)
    for name in (*names, *([] if weight is None else [weight])):
        if name not in known:
            raise InputError(f"the dask dataframe has no column {name!r}.{did_you_mean(str(name), map(str, known))}")
    types = [_numeric(name, frame.dtypes[name]) for name in names]
    if weight is not None:
        _numeric(weight, frame.dtypes[weight])
    schema = Schema(len(names), np.result_type(*types) if types else np.dtype(np.float64), names if named else None)
    wanted = dict.fromkeys((*names, *([] if weight is None else [weight])))
    parts = [frame[list(wanted)]]
    if weights is not None and weight is None:
        parts.append(_frame_weights(frame, weights))
    name = "dask dataframe"
    return CollectionSource(
        schema, name, FrameReader(schema, weight), _atoms(parts, [None] * frame.npartitions, schema, name)
    )


def _frame_weights(frame: Any, weights: Any) -> Any:
    if not is_collection(weights) or weights.ndim != 1 or weights.npartitions != frame.npartitions:
        raise InputError(
            "weights of a dask dataframe are the name of a column, or a dask series or array with its partitions; make "
            "them a column with assign"
        )
    _numeric("weights", weights.dtype)
    return weights


def _numeric(name: Any, dtype: Any) -> np.dtype[Any]:
    """Return the NumPy type of a column; integers that may be null become float64."""
    plain = dtype if isinstance(dtype, np.dtype) else getattr(dtype, "numpy_dtype", None)
    if plain is None or np.dtype(plain).kind not in "fiub":
        raise InputError(
            f"column {name!r} is of type {dtype}, which is not numeric; give the numeric columns alone (frame[[...]])"
        )
    if isinstance(dtype, np.dtype) or plain.kind == "f":
        return np.dtype(plain)
    return np.dtype(np.float64)


def _atoms(parts: Sequence[Any], rows: Sequence[int | None], schema: Schema, name: str) -> tuple[Atom, ...]:
    delayed = [list(np.ravel(part.to_delayed())) for part in parts]
    graph: dict[Any, Any] = {}
    for pieces in delayed:
        graph.update(ensure_dict(pieces[0].dask))
    keys = [tuple(piece.key for piece in pieces) for pieces in zip(*delayed, strict=True)]

    def unoptimised() -> dict[Any, Any]:
        return {key: node for part in parts for key, node in ensure_dict(part.__dask_graph__()).items()}

    what = "partition" if is_frame(parts[0]) else "chunk"
    each = schema.features * schema.dtype.itemsize
    return tuple(
        Atom(size, (size or 0) * each, f"{what} {number} of the {name}", chunk)
        for number, (size, chunk) in enumerate(zip(rows, chunks_of(graph, keys, unoptimised, name), strict=True))
    )
