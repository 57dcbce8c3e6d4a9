"""What a kernel sees: rows with their weights, the columns they came from, and the frame they are looked at in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dask_em._record import record
from dask_em.errors import DataError

__all__ = ["Frame", "Rows", "Schema", "Workspace"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schema:
    """The columns that a source delivers as the values of its rows: named ones, or the columns of one matrix."""

    features: int  # d
    dtype: np.dtype[Any]  # of the values as stored; several column types are promoted to one
    names: tuple[str, ...] | None = None  # None: one matrix without names

    def __post_init__(self) -> None:
        if self.features < 1:
            raise DataError("the data has no columns; give at least one numeric column")
        if self.dtype.kind not in "fiub":
            raise DataError(f"the data is of type {self.dtype}, which is not numeric; choose numeric columns")

    def column(self, position: int) -> str:
        """Return a column's name, or its number where columns have none."""
        return f"column {self.names[position]!r}" if self.names else f"column {position}"


class Workspace:
    """Buffers that tiles reuse, and what was derived from a pass's parameters. One thread owns a workspace."""

    def __init__(self) -> None:
        self._buffers: dict[Any, Array] = {}
        self._derived: dict[Any, tuple[Any, Any]] = {}

    def array(self, key: Any, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Return an uninitialised C-contiguous array; the same memory for the same key while it is large enough.

        Contents do not survive the next request for the key.
        """
        size = int(np.prod(shape))
        buffer = self._buffers.get((key, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[key, dtype] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)

    def derived(self, key: Any, source: Any, make: Callable[[], Any]) -> Any:
        """Return what ``make`` makes of ``source``; it is made again when another source comes for the key."""
        entry = self._derived.get(key)
        if entry is None or entry[0] is not source:
            entry = self._derived[key] = (source, make())
        return entry[1]


@dataclass(frozen=True)
class Rows:
    """A run of rows. ``weight`` is always there: 1 where none was given."""

    values: Array  # (n, d), of the stored type
    weight: Array  # (n,) float64
    first: int = 0  # the number of the first row in the data
    extra: Mapping[str, Array] = field(default_factory=dict)  # further columns, each (n,)
    memo: dict[Any, Any] = field(default_factory=dict)  # features that several models of a pass share
    workspace: Workspace = field(default_factory=Workspace)

    @classmethod
    def of(cls, values: Array, weight: Array | None = None, extra: Mapping[str, Array] | None = None) -> Rows:
        """Make rows of an (n, d) array, with weight 1 where none is given."""
        ones = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
        return cls(values, ones, extra=extra or {})

    def __len__(self) -> int:
        return len(self.values)

    @property
    def index(self) -> Array:
        """The rows' numbers in the data, (n,)."""
        return np.arange(self.first, self.first + len(self), dtype=np.int64)

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, _ = rows.indices(len(self))
        extra = {name: column[start:stop] for name, column in self.extra.items()}
        cut = self.values[start:stop], self.weight[start:stop], self.first + start
        return Rows(*cut, extra, {}, self.workspace)

    def at(self, first: int, workspace: Workspace) -> Rows:
        """Return the same rows, numbered from ``first``, with a workspace to use."""
        return Rows(self.values, self.weight, first, self.extra, {}, workspace)

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        """Join runs of rows, in order."""
        if len(parts) == 1:
            return parts[0]
        extra = {name: np.concatenate([p.extra[name] for p in parts]) for name in parts[0].extra}
        return Rows(
            np.concatenate([p.values for p in parts]), np.concatenate([p.weight for p in parts]), parts[0].first, extra
        )


@record
class Frame:
    """The affine map x -> x - centre, found in pass 0, in which all mathematics is done."""

    centre: Array  # (d,) float64

    @staticmethod
    def identity(features: int) -> Frame:
        """Return the frame that leaves rows as they are."""
        return Frame(np.zeros(features))

    def enter(self, points: Array) -> Array:
        """Map points (..., d) into the frame, as float64."""
        return np.asarray(np.asarray(points, np.float64) - self.centre)

    def leave(self, points: Array) -> Array:
        """Map points (..., d) of the frame back to the data's coordinates."""
        return np.asarray(points + self.centre)
