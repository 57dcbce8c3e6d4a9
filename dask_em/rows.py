"""What a kernel sees: rows with their weights, the columns they came from, and the frame they are looked at in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import array_api_compat
import numpy as np
import numpy.typing as npt

from dask_em._record import record
from dask_em.errors import DataError

__all__ = ["Arrays", "Frame", "Rows", "Schema", "Workspace"]

Array = np.ndarray[Any, Any]
SHARED_ONES = 2**20  # as many ones are kept
LINE = 64  # bytes of a line of the cache
HOST = 1  # DLPack's number of the device whose memory NumPy reads


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
    """Buffers that tiles reuse, and what was made of a pass's parameters. One thread owns a workspace."""

    def __init__(self) -> None:
        self._buffers: dict[Any, Array] = {}
        self._kept: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()  # memory stays where it is

    def array(self, key: Any, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Return an uninitialised C-contiguous array; the same memory for the same key while it is large enough.

        Contents do not survive the next request for the key. Its memory begins with a line of the cache.
        """
        size = prod(shape)
        buffer = self._buffers.get((key, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[key, dtype] = _aligned(size, np.dtype(dtype))
        return buffer[:size].reshape(shape)

    def kept(self, owner: Any) -> dict[Any, Any]:
        """Return what is kept for an object for as long as it lives; to be written to."""
        return self._kept.setdefault(owner, {})


def _aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised array whose vectors lie in one line of the cache each: those across two load slower."""
    memory = np.empty(size * dtype.itemsize + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    return memory[begin : begin + size * dtype.itemsize].view(dtype)


class Arrays(ABC):
    """The arrays of one namespace on one device: what a tile's mathematics must not ask NumPy for.

    ``xp.function(..., **out(key, shape))`` is a function of the array API standard that leaves its result in the
    workspace's memory where the namespace can, and in an array of its own where it cannot.
    """

    xp: Any  # the namespace

    @abstractmethod
    def empty(self, key: Any, shape: tuple[int, ...]) -> Array:
        """Return an uninitialised float64 array; its contents do not survive the next request for the key."""

    @abstractmethod
    def out(self, key: Any, shape: tuple[int, ...]) -> dict[str, Array]:
        """Return the keyword that puts a result of this shape in the key's memory."""

    @abstractmethod
    def over(self, array: Array) -> dict[str, Array]:
        """Return the keyword that puts a result in the place of an array."""

    @abstractmethod
    def fill(self, part: Array, function: Callable[..., Array], *arguments: Any, **options: Any) -> None:
        """Write the result of a function to a part of an array, a view of it."""

    @abstractmethod
    def take(self, array: Any) -> Array:
        """Return any array as a float64 array of this namespace, on this device."""

    @abstractmethod
    def widened(self, values: Array) -> Array:
        """Return values of any type such that arithmetic with float64 arrays is exact and allowed."""

    @abstractmethod
    def moved(self, array: Array, owner: Any) -> Array:
        """Return a NumPy array of a frozen record on this device, moved once for as long as the record lives."""

    @abstractmethod
    def back(self, array: Array) -> Array:
        """Return an array as NumPy's, for what travels up."""


@dataclass(frozen=True)
class _NumPy(Arrays):
    """NumPy writes to the workspace, and has nothing to move."""

    workspace: Workspace
    xp = np  # itself a namespace of the standard: a wrapper would cost time

    def empty(self, key: Any, shape: tuple[int, ...]) -> Array:
        return self.workspace.array(key, shape)

    def out(self, key: Any, shape: tuple[int, ...]) -> dict[str, Array]:
        return {"out": self.workspace.array(key, shape)}

    def over(self, array: Array) -> dict[str, Array]:
        return {"out": array}

    def fill(self, part: Array, function: Callable[..., Array], *arguments: Any, **options: Any) -> None:
        function(*arguments, out=part, **options)

    def take(self, array: Any) -> Array:
        return np.asarray(array, np.float64)

    def widened(self, values: Array) -> Array:
        return values  # a function of two arrays widens as it goes, without a copy

    def moved(self, array: Array, owner: Any) -> Array:
        return array

    def back(self, array: Array) -> Array:
        return array


@dataclass(frozen=True)
class _Standard(Arrays):
    """Any namespace of the standard, which knows no ``out``, and whose device may be another than NumPy's."""

    workspace: Workspace
    xp: Any
    device: Any

    def empty(self, key: Any, shape: tuple[int, ...]) -> Array:
        return self.xp.empty(shape, dtype=self.xp.float64, device=self.device)  # type: ignore[no-any-return]

    def out(self, key: Any, shape: tuple[int, ...]) -> dict[str, Array]:
        return {}

    def over(self, array: Array) -> dict[str, Array]:
        return {}

    def fill(self, part: Array, function: Callable[..., Array], *arguments: Any, **options: Any) -> None:
        part[...] = function(*arguments, **options)

    def take(self, array: Any) -> Array:
        return self.xp.asarray(array, dtype=self.xp.float64, device=self.device, copy=True)  # type: ignore[no-any-return]

    def widened(self, values: Array) -> Array:
        return self.xp.astype(values, self.xp.float64, copy=False)  # type: ignore[no-any-return]

    def moved(self, array: Array, owner: Any) -> Array:
        kept, key = self.workspace.kept(owner), (id(array), self.xp, self.device)  # an owner's arrays live as it does
        if key not in kept:
            kept[key] = self.take(array)
        return kept[key]  # type: ignore[no-any-return]

    def back(self, array: Array) -> Array:
        on_host = array.__dlpack_device__()[0] == HOST
        return np.from_dlpack(array if on_host else array_api_compat.to_device(array, "cpu"))


def _arrays(values: Any, workspace: Workspace) -> Arrays:
    """Return what computes with arrays like these."""
    if isinstance(values, np.ndarray):
        return _NumPy(workspace)
    return _Standard(workspace, array_api_compat.array_namespace(values), array_api_compat.device(values))


_ONES = [np.ones(0)]


def _ones(n: int) -> Array:
    """Return n ones that are not written to: every block shares them, since fresh pages cost more than the rest."""
    ones = _ONES[0]
    if len(ones) < n:
        ones = np.ones(n)
        ones.flags.writeable = False
        if n <= SHARED_ONES:
            _ONES[0] = ones
    return ones[:n]


@dataclass(frozen=True)
class Rows:
    """A run of rows. ``weight`` is always there: 1 where none was given.

    Values may be arrays of any namespace of the array API standard whose slices are views; weights are of the same.
    """

    values: Array  # (n, d), of the stored type
    weight: Array  # (n,) float64
    first: int = 0  # the number of the first row in the data
    extra: Mapping[str, Array] = field(default_factory=dict)  # further columns, each (n,)
    memo: dict[Any, Any] = field(default_factory=dict)  # features that several models of a pass share
    workspace: Workspace = field(default_factory=Workspace)

    @classmethod
    def of(cls, values: Array, weight: Array | None = None, extra: Mapping[str, Array] | None = None) -> Rows:
        """Make rows of an (n, d) array, with weight 1 where none is given."""
        workspace = Workspace()
        given = _arrays(values, workspace).take(_ones(values.shape[0]) if weight is None else weight)
        return cls(values, given, extra=extra or {}, workspace=workspace)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @cached_property
    def arrays(self) -> Arrays:
        """What computes with these rows: the functions of their namespace, and the workspace's memory."""
        return _arrays(self.values, self.workspace)

    @property
    def index(self) -> Array:
        """The rows' numbers in the data, (n,)."""
        return np.arange(self.first, self.first + len(self), dtype=np.int64)

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, _ = rows.indices(len(self))
        extra = {name: column[start:stop] for name, column in self.extra.items()}
        cut = self.values[start:stop, :], self.weight[start:stop], self.first + start
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
