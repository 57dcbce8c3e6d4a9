"""Rows of any source with weights that are given beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dask_em.errors import DataError, InternalError
from dask_em.rows import Rows, Schema
from dask_em.storage.columns import require_numeric
from dask_em.storage.source import Atom, Source

__all__ = ["Weighted"]


class Weighted:
    """A source whose rows carry the weights of an array in memory; its atoms hold their part of it.

    Parameters
    ----------
    source : Source
        Where the rows are.
    weights : array_like, (n,)
        One for each of its rows, in order.

    Raises
    ------
    DataError
        The weights are no numbers in one axis, are not as many as the rows, or the rows are not counted yet.
    """

    def __init__(self, source: Source, weights: Any) -> None:
        values = np.asarray(weights)
        if values.ndim != 1:
            raise DataError(f"the weights for {source.name} have {values.ndim} axes; give one number for each row")
        require_numeric(values.dtype, f"the weights for {source.name}")
        rows = [atom.rows for atom in source.atoms()]
        counted = [n for n in rows if n is not None]
        if len(counted) < len(rows):
            raise DataError(f"{source.name} does not know its number of rows yet; count them before weights are given")
        if sum(counted) != len(values):
            raise DataError(f"{source.name} has {sum(counted)} rows and {len(values)} weights; give one for each row")
        self._source = source
        self._weights: np.ndarray[Any, Any] | None = values.astype(np.float64, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_weights": None}  # the atoms carry them

    @property
    def schema(self) -> Schema:
        """The columns."""
        return self._source.schema

    @property
    def name(self) -> str:
        """The name of the source."""
        return self._source.name

    def atoms(self) -> Sequence[Atom]:
        """Return the source's atoms, each with its weights.

        Raises
        ------
        InternalError
            The source travelled, and left the weights behind.
        """
        if self._weights is None:
            raise InternalError(f"{self.name} was sent without its weights; ask for its atoms where they are")
        atoms, first = [], 0
        for atom in self._source.atoms():
            last = first + (atom.rows or 0)
            atoms.append(replace(atom, where=(atom, self._weights[first:last])))
            first = last
        return atoms

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows, with their weights."""
        inner, weights = atom.where
        return replace(self._source.load(inner, rows), weight=np.array(weights[rows]))
