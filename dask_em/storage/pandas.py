"""pandas frames in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dask_em.errors import DataError, InternalError
from dask_em.rows import Rows, Schema
from dask_em.storage.columns import (
    CHOOSE,
    choose_names,
    common_type,
    plain_numbers,
    require_numeric,
    require_rows_per_atom,
)
from dask_em.storage.matrix import ATOM_BYTES
from dask_em.storage.source import Atom

__all__ = ["FrameSource"]

Array = np.ndarray[Any, Any]


class FrameSource:
    """A pandas frame (or series) in memory. Its atoms hold slices of its columns; the source travels empty.

    Integers and truth values with gaps become float64 with NaN. Where no columns are asked for and not every label is
    a string, the columns have no names: they are told by their positions alone.

    Parameters
    ----------
    frame : DataFrame or Series
        The rows.
    columns : sequence, optional
        Names of numeric columns; by default all but the weights, which must then all be numeric.
    weights : hashable, optional
        The name of the column that holds the rows' weights.
    rows_per_atom : int, optional
        By default as many as make about 8 MiB.

    Raises
    ------
    DataError
        A column is missing, is there twice, or is not numeric.
    """

    def __init__(
        self,
        frame: pd.DataFrame | pd.Series[Any],
        columns: Sequence[Any] | None = None,
        weights: Any = None,
        rows_per_atom: int | None = None,
    ) -> None:
        require_rows_per_atom(rows_per_atom)
        table = frame.to_frame() if isinstance(frame, pd.Series) else frame
        self.name: str = "frame"
        known = list(table.columns)
        twice = table.columns[table.columns.duplicated()]
        if len(twice):
            raise DataError(f"the frame has two columns named {twice[0]!r}; name each column differently")
        chosen = choose_names(columns, known, "the frame")
        if weights is not None:
            choose_names([weights], known, "the frame")
        if chosen is None:
            chosen = [label for label in known if weights is None or label != weights]
        named = columns is not None or all(isinstance(label, str) for label in known)
        arrays = tuple(_column(table.iloc[:, known.index(label)], columns is None) for label in chosen)
        dtype = common_type(array.dtype for array in arrays) if arrays else np.dtype(np.float64)
        self.schema: Schema = Schema(len(arrays), dtype, tuple(str(label) for label in chosen) if named else None)
        self._arrays: tuple[Array, ...] | None = arrays
        self._weights = None if weights is None else _column(table[weights], False).astype(np.float64)
        self._rows = len(table)
        self._step = rows_per_atom or max(1, ATOM_BYTES // (len(arrays) * dtype.itemsize))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None, "_weights": None}  # the atoms carry the rows

    def atoms(self) -> Sequence[Atom]:
        """Return runs of rows as slices of the columns.

        Raises
        ------
        InternalError
            The source travelled, and left the frame behind.
        """
        if self._arrays is None:
            raise InternalError(f"{self.name} was sent without its rows; ask for its atoms where the frame is")
        atoms = []
        for low in range(0, self._rows, self._step):
            high = min(low + self._step, self._rows)
            weights = None if self._weights is None else self._weights[low:high]
            where = tuple(array[low:high] for array in self._arrays), weights
            nbytes = (high - low) * self.schema.features * self.schema.dtype.itemsize
            atoms.append(Atom(high - low, nbytes, f"rows {low} to {high - 1} of the frame", where))
        return atoms

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Return (some of) an atom's rows."""
        arrays, weights = atom.where
        start, stop, _ = rows.indices(atom.rows or 0)
        values = np.empty((max(0, stop - start), len(arrays)), self.schema.dtype)
        for position, array in enumerate(arrays):
            values[:, position] = array[start:stop]
        return Rows.of(values, None if weights is None else weights[start:stop])


def _column(series: pd.Series[Any], unasked: bool) -> Array:
    """Return a column as NumPy; a view of the frame where it is stored so."""
    stored: Any = series.dtype
    if isinstance(stored, np.dtype) and stored.kind == "O":
        plain = plain_numbers(series.to_numpy())
        series, stored = pd.Series(plain, name=series.name), plain.dtype
    dtype = getattr(stored, "numpy_dtype", stored)  # nullable and Arrow columns tell what they hold
    if not isinstance(dtype, np.dtype) or dtype.kind not in "fiub":
        remedy = (
            f"give the numeric columns alone (frame[[...]]), or {CHOOSE}" if unasked else "leave it out or convert it"
        )
        raise DataError(f"column {series.name!r} of the frame is of type {stored}, which is not numeric; {remedy}")
    dtype = require_numeric(dtype, f"column {series.name!r} of the frame")
    if isinstance(stored, np.dtype):
        return np.asarray(series.to_numpy())
    if not bool(series.isna().any()):
        return np.asarray(series.to_numpy(dtype=dtype))
    return np.asarray(series.to_numpy(dtype=dtype if dtype.kind == "f" else np.dtype(np.float64), na_value=np.nan))
