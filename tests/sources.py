"""A source of one's own, as a user would write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.rows import Rows, Schema
from dask_em.storage.source import Atom

__all__ = ["Chunks"]


@dataclass(frozen=True)
class Chunks:
    """Rows in memory, cut into atoms of the given sizes."""

    values: np.ndarray[Any, Any]
    sizes: tuple[int, ...]
    name: str = "chunks"
    weights: np.ndarray[Any, Any] | None = None

    @property
    def schema(self) -> Schema:
        return Schema(self.values.shape[1], self.values.dtype)

    def atoms(self) -> list[Atom]:
        ends = np.cumsum((0, *self.sizes))
        row = self.values.shape[1] * self.values.itemsize
        return [Atom(n, n * row, f"chunk {i}", int(ends[i])) for i, n in enumerate(self.sizes)]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        start, stop, _ = rows.indices(atom.rows or 0)
        cut = slice(atom.where + start, atom.where + stop)
        return Rows.of(self.values[cut], None if self.weights is None else self.weights[cut])
