"""How the axes of an array become rows and columns, and where it may be cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dask_em.errors import DataError
from dask_em.rows import Schema
from dask_em.storage.columns import choose_positions, require_numeric

__all__ = ["ATOM_BYTES", "Matrix"]

Array = np.ndarray[Any, Any]
ATOM_BYTES = 8 * 2**20  # of an atom, where storage has no unit of its own


@dataclass(frozen=True)
class Matrix:
    """An array seen as rows: one axis holds the features, the others are flattened to rows in C order.

    It is cut along its *lead*, the first axis that holds no features, so that the rows of a cut are contiguous.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # in the machine's byte order
    feature_axis: int | None  # None: one axis, one feature
    columns: tuple[int, ...] | None  # positions; None: all

    @staticmethod
    def of(shape: Sequence[int], dtype: np.dtype[Any], name: str, feature_axis: int | None, columns: Any) -> Matrix:
        """Decide how an array is looked at.

        Raises
        ------
        DataError
            It is not numeric, or it is not clear which axis holds the features.
        """
        sizes, native = tuple(int(size) for size in shape), require_numeric(dtype, name)
        axis = _feature_axis(sizes, name, feature_axis)
        width = 1 if axis is None else sizes[axis]
        return Matrix(sizes, native, axis, choose_positions(columns, width, name))

    @property
    def schema(self) -> Schema:
        """The columns."""
        width = 1 if self.feature_axis is None else self.shape[self.feature_axis]
        return Schema(width if self.columns is None else len(self.columns), self.dtype)

    @property
    def lead(self) -> int:
        """The axis that is cut."""
        return 1 if self.feature_axis == 0 else 0

    @cached_property
    def inner(self) -> int:
        """Rows that one index of the lead holds."""
        return math.prod(n for axis, n in enumerate(self.shape) if axis not in (self.lead, self.feature_axis))

    @cached_property
    def span(self) -> tuple[int, int]:
        """The part of the feature axis that has to be read."""
        if self.columns:
            return min(self.columns), max(self.columns) + 1
        return 0, 1 if self.feature_axis is None else self.shape[self.feature_axis]

    def nbytes(self, low: int, high: int) -> int:
        """Bytes of a cut, once decoded."""
        return (high - low) * self.inner * (self.span[1] - self.span[0]) * self.dtype.itemsize

    def step(self, rows_per_atom: int | None, unit: int = 1) -> int:
        """Return how many indices of the lead make an atom of so many rows, rounded up to whole units."""
        rows = rows_per_atom or max(1, ATOM_BYTES // max(1, self.nbytes(0, 1) // max(1, self.inner)))
        return unit * max(1, -(-rows // max(1, self.inner * unit)))

    def cuts(self, step: int) -> list[tuple[int, int]]:
        """Return the cuts of the lead, in order; none where there are no rows."""
        length = self.shape[self.lead] if self.inner else 0
        return [(low, min(low + step, length)) for low in range(0, length, step or 1)]

    def selection(self, low: int, high: int) -> tuple[slice, ...]:
        """Return what to read for a cut, axis by axis."""
        cut = [slice(0, n) for n in self.shape]
        if self.feature_axis is not None:
            cut[self.feature_axis] = slice(*self.span)
        cut[self.lead] = slice(low, high)
        return tuple(cut)

    def flatten(self, slab: Array) -> Array:
        """Turn what was read for a cut into its rows (n, d), C-contiguous and in the machine's byte order."""
        rows = slab.shape[self.lead] * self.inner
        last = slab.ndim - 1
        features = slab if self.feature_axis in {None, last} else np.moveaxis(slab, self.feature_axis, last)
        values = features.reshape(rows, self.span[1] - self.span[0])
        if self.columns is not None:
            wanted = [column - self.span[0] for column in self.columns]
            values = values if wanted == list(range(values.shape[1])) else values[:, wanted]
        return np.ascontiguousarray(values, dtype=self.dtype)

    def read(self, low: int, count: int, rows: slice, fetch: Callable[[int, int], Array]) -> Array:
        """Return some of the ``count`` rows of the cut that begins at ``low``, fetching no more than they need."""
        start, stop, _ = rows.indices(count)
        stop = max(start, stop)
        first, last = start // self.inner, -(-stop // self.inner)
        values = self.flatten(fetch(low + first, low + last))
        return values[start - first * self.inner : stop - first * self.inner]


def _feature_axis(shape: tuple[int, ...], name: str, asked: int | None) -> int | None:
    axes = len(shape)
    if axes == 0:
        raise DataError(f"{name} is a single number; give an array with at least one axis")
    if asked is not None and axes == 1:
        raise DataError(f"{name} has one axis, which holds its rows, so feature_axis does not apply; leave it out")
    if asked is None and axes > 2:
        raise DataError(
            f"{name} has {axes} axes of sizes {shape}; reshape it to rows x columns, or name the axis with "
            "data.feature_axis in a config or feature_axis= of dask_em.open_source"
        )
    if asked is None:
        return None if axes == 1 else 1
    if not -axes <= asked < axes:
        raise DataError(f"{name} has {axes} axes, so feature_axis must be from 0 to {axes - 1}, and {asked} is not")
    return asked % axes
