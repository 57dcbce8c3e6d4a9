"""Rows of any source with weights that are given beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from dask_em.errors import DataError, InputError, InternalError
from dask_em.rows import Rows, Schema
from dask_em.storage.blocks import pieces_of
from dask_em.storage.columns import plain_numbers, require_numeric
from dask_em.storage.source import Atom, Source

__all__ = ["Beside", "Weighted", "row_weights"]

Array = np.ndarray[Any, Any]


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
    InputError
        The weights are a masked array.
    """

    def __init__(self, source: Source, weights: Any) -> None:
        self._source = source
        self._weights: Array | None = row_weights(weights, f"the weights for {source.name}")
        _require_as_many(source, len(self._weights))

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
        atoms = self._source.atoms()
        return [
            replace(atom, where=(atom, self._weights[first:last]))
            for atom, (first, last) in zip(atoms, pairwise(_ends(atoms)), strict=True)
        ]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows, with their weights."""
        inner, weights = atom.where
        return _weighted(self._source.load(inner, rows), np.array(weights[rows]), self.name)


@dataclass(frozen=True)
class Beside:
    """A source whose rows carry the weights that another source holds, read with them: both may be larger than memory.

    Parameters
    ----------
    source : Source
        Where the rows are.
    weights : Source
        Of one column, with one row for each of those, in order; it may be cut otherwise.

    Raises
    ------
    DataError
        The weights are not one column, are not as many as the rows, or the rows are not counted yet.
    """

    source: Source
    weights: Source

    def __post_init__(self) -> None:
        columns = self.weights.schema.features
        if columns != 1:
            raise DataError(f"the weights, {self.weights.name}, have {columns} columns; give one number for each row")
        _require_as_many(self.source, _ends(self.weights.atoms())[-1])

    @property
    def schema(self) -> Schema:
        """The columns."""
        return self.source.schema

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    def atoms(self) -> Sequence[Atom]:
        """Return the source's atoms, each with the pieces that its weights lie in."""
        atoms, weights = self.source.atoms(), self.weights.atoms()
        ends, result = _ends(weights), []
        for atom, (first, last) in zip(atoms, pairwise(_ends(atoms)), strict=True):
            pieces = tuple(pieces_of(weights, ends, first, last))
            nbytes = atom.nbytes + sum(piece.nbytes for piece in pieces)
            result.append(replace(atom, nbytes=nbytes, where=(atom, *pieces)))
        return result

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows, and their weights.

        Raises
        ------
        OSError
            Weights cannot be read; the message names where they are.
        """
        inner, *pieces = atom.where
        start, stop, _ = rows.indices(atom.rows or 0)
        weights, at = [np.empty(0)], 0
        for piece in pieces:
            low, high = max(start - at, 0), min(stop - at, piece.stop - piece.start)
            if low < high:
                weights.append(self._read(piece.atom, slice(piece.start + low, piece.start + high)))
            at += piece.stop - piece.start
        return _weighted(self.source.load(inner, rows), np.concatenate(weights), self.name)

    def _read(self, atom: Atom, rows: slice) -> Array:
        try:
            return np.asarray(self.weights.load(atom, rows).values[:, 0], np.float64)
        except OSError as error:
            raise OSError(f"the weights in {atom.place}: {error}") from error


def row_weights(weights: Any, what: str) -> Array:
    """Return weights that are given in memory as float64, (n,); an error says ``what`` they are."""
    if isinstance(weights, np.ma.MaskedArray):
        raise InputError(f"{what} are a masked array, whose mask would be lost; fill it first: weights.filled(0)")
    values = plain_numbers(np.asarray(weights))
    if values.ndim != 1:
        raise DataError(f"{what} have {values.ndim} axes; give one number for each row")
    require_numeric(values.dtype, what)
    return values.astype(np.float64, copy=False)


def _ends(atoms: Sequence[Atom]) -> list[int]:
    """Return 0, and where each atom ends."""
    return list(accumulate((atom.rows or 0 for atom in atoms), initial=0))


def _require_as_many(source: Source, weights: int) -> None:
    """Refuse weights that are not as many as the rows."""
    atoms = source.atoms()
    if any(atom.rows is None for atom in atoms):
        raise DataError(
            f"{source.name} does not tell its number of rows, so that weights cannot be laid beside them; let its rows "
            "carry their weights"
        )
    rows = _ends(atoms)[-1]
    if rows != weights:
        raise DataError(f"{source.name} has {rows} rows and {weights} weights; give one for each row")


def _weighted(rows: Rows, weights: Array, name: str) -> Rows:
    """Give rows their weights; refuse those that have some."""
    if not bool((rows.weight == 1).all()):
        raise DataError(f"the rows of {name} carry weights of their own, and others are given beside them; give either")
    return Rows.of(rows.values, weights, rows.extra)
