"""What travels up: values with an associative ``+``.

The algebra of :class:`Statistics` is written once, field by field. No family writes a merge.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, Self

import numpy as np

from dask_em._record import fold, is_static, record, static, values_equal
from dask_em.errors import InternalError

__all__ = ["Extremes", "Fault", "Joint", "Manifest", "Sample", "Score", "Statistics"]

Array = np.ndarray[Any, Any]


class Statistics:
    """Sums over rows. Law: statistics of two blocks add up to the statistics of both.

    Static fields (the ``reference`` about which sums were taken, say) must agree to be added; ``*`` ignores them.
    Subclasses are records and add fields, never methods of their own for ``+`` or ``*``.
    """

    def __add__(self, other: Self) -> Self:
        if type(other) is not type(self):
            raise InternalError(f"cannot add {type(other).__name__} to {type(self).__name__}")
        values: dict[str, Any] = {}
        for name, fixed in _fields(type(self)):  # type: ignore[arg-type]  # a class is hashable
            mine, theirs = getattr(self, name), getattr(other, name)
            values[name] = mine if fixed else _add(mine, theirs)
            if fixed and mine is not theirs and not values_equal(mine, theirs):
                raise InternalError(f"{type(self).__name__}.{name} differs: such sums never mix")
        return type(self)(**values)

    def __mul__(self, factor: float) -> Self:
        return fold(self, lambda leaf: leaf * factor)  # type: ignore[no-any-return]  # fold keeps the type

    __rmul__ = __mul__


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, bool], ...]:
    """Return the names of a record's fields, and which are static: asked for in every addition."""
    return tuple((f.name, is_static(f)) for f in dataclasses.fields(kind))


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(_add(x, y) for x, y in zip(a, b, strict=True))
    return None if a is None else a + b


@record
class Joint(Statistics):
    """The statistics of several models, gathered in one read."""

    members: tuple[Any, ...]


@record
class Score(Statistics):
    """How well a model explains rows."""

    rows: int
    weight: float
    log_likelihood: float  # Σ w log p(x), nats
    fault: Fault  # what cannot be used


@record
class Sample:
    """The ``size`` rows with the smallest hashed index: uniform over rows, the same whatever the chunking.

    Law: associative and commutative, since the rows are kept in the order of ``(hash, index)``. Where not all rows are
    as likely, keys that say so take the place of the hashes.
    """

    size: int = static()
    hashes: Array  # (m,) uint64
    index: Array  # (m,) int64, the row's number in the data
    values: Array  # (m, d), float32 where they are stored so, else float64
    weight: Array  # (m,)

    def __add__(self, other: Sample) -> Sample:
        def both(name: str) -> Array:
            return np.concatenate([getattr(self, name), getattr(other, name)])

        return Sample(self.size, both("hashes"), both("index"), both("values"), both("weight")).ordered()

    def ordered(self) -> Sample:
        """Return the sample in canonical order, cut to its size."""
        return self.first(self.size)

    def first(self, size: int) -> Sample:
        """Return the sample of fewer rows that would have been drawn."""
        order = np.lexsort((self.index, self.hashes))[:size]
        return Sample(size, self.hashes[order], self.index[order], self.values[order], self.weight[order])


@record
class Extremes:
    """The smallest and largest value of each column. Law: associative, commutative, idempotent."""

    low: Array  # (d,)
    high: Array  # (d,)

    def __add__(self, other: Extremes) -> Extremes:
        return Extremes(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


@record
class Fault:
    """The first value that cannot be used, by row number, and how many rows have one; ``row`` is -1 where none has."""

    row: int
    column: int  # -1: the row's weight
    kind: str
    count: int

    def __add__(self, other: Fault) -> Fault:
        first = self if other.row < 0 or 0 <= self.row < other.row else other
        return dataclasses.replace(first, count=self.count + other.count)


@record
class Manifest:
    """What was written: rows and bytes, and the names of the parts in order."""

    rows: int
    nbytes: int
    parts: tuple[str, ...]

    def __add__(self, other: Manifest) -> Manifest:
        return Manifest(self.rows + other.rows, self.nbytes + other.nbytes, self.parts + other.parts)
