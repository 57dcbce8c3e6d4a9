"""NumPy arrays, in memory and in .npy files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dask_em.errors import DataError, InputError, InternalError
from dask_em.rows import Rows, Schema
from dask_em.storage.columns import plain_numbers, require_rows_per_atom
from dask_em.storage.location import Location
from dask_em.storage.matrix import Matrix
from dask_em.storage.source import Atom

__all__ = ["ArraySource", "NpySource"]

Array = np.ndarray[Any, Any]
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ArraySource:
    """An array in memory. Its atoms hold views of it, and travel with their own rows; the source travels empty.

    Unless told otherwise it is one atom, which can be cut anywhere: nothing is decoded, and nothing joined.

    Parameters
    ----------
    array : array_like
        (n,) for one feature, (n, d), or more axes with ``feature_axis``.
    rows_per_atom : int, optional
        By default one atom, or, where features come first, as many rows as make about 8 MiB.
    columns : sequence of int, optional
        Positions along the feature axis; all by default.
    feature_axis : int, optional
        The axis of the features where there are more than two; the others are flattened to rows in C order.
    name : str
        What messages call it.
    """

    def __init__(
        self,
        array: Any,
        rows_per_atom: int | None = None,
        columns: Sequence[int] | None = None,
        feature_axis: int | None = None,
        name: str = "array",
    ) -> None:
        require_rows_per_atom(rows_per_atom)
        self._array: Array | None = _plain(array, name)
        self._matrix = Matrix.of(self._array.shape, self._array.dtype, name, feature_axis, columns)
        self._whole = rows_per_atom is None and self._matrix.lead == 0
        self._step = len(self._array) if self._whole else self._matrix.step(rows_per_atom)
        self.schema: Schema = self._matrix.schema
        self.name: str = name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}  # the atoms carry the rows

    def atoms(self) -> Sequence[Atom]:
        """Return runs of rows as views of the array.

        Raises
        ------
        InternalError
            The source travelled, and left the array behind.
        """
        if self._array is None:
            raise InternalError(f"{self.name} was sent without its rows; ask for its atoms where the array is")
        matrix = self._matrix
        return [
            Atom(
                (high - low) * matrix.inner,
                matrix.nbytes(low, high),
                f"rows {low * matrix.inner} to {high * matrix.inner - 1} of {self.name}",
                self._array[matrix.selection(low, high)],
                divisible=self._whole,
            )
            for low, high in matrix.cuts(self._step)
        ]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Return (some of) an atom's rows."""
        along = [slice(None)] * atom.where.ndim

        def fetch(low: int, high: int) -> Array:
            along[self._matrix.lead] = slice(low, high)
            return np.asarray(atom.where[tuple(along)])

        return Rows.of(self._matrix.read(0, atom.rows or 0, rows, fetch))


def _plain(array: Any, name: str) -> Array:
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, whose mask would be lost; fill it first: array.filled(np.nan)")
    try:
        return plain_numbers(np.asarray(array))
    except ValueError as error:
        raise InputError(f"{name} cannot be made an array ({error}); give rows of equal length") from error


class NpySource:
    """A .npy file: local (mapped to memory while it is read, in any order of axes) or remote (read by byte ranges).

    Parameters
    ----------
    url : str or path
        Where it is.
    rows_per_atom, columns, feature_axis
        As for :class:`ArraySource`.
    storage_options : mapping, optional
        For the remote file system.

    Raises
    ------
    DataError
        There is no such file, it is no .npy file, it is truncated, or its type or axes cannot be used.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        rows_per_atom: int | None = None,
        columns: Sequence[int] | None = None,
        feature_axis: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        require_rows_per_atom(rows_per_atom)
        self._location = Location.of(url, storage_options).require()
        self.name: str = self._location.name
        shape, fortran_order, dtype, self._offset = _header(self._location)
        self._stored = dtype
        self._matrix = Matrix.of(shape, dtype, self.name, feature_axis, columns)
        self._step = self._matrix.step(rows_per_atom)
        self.schema: Schema = self._matrix.schema
        if fortran_order and len(shape) > 1 and not self._location.local:
            raise DataError(
                f"{self.name} is stored in Fortran order, which cannot be read by byte ranges; "
                "write it anew with numpy.ascontiguousarray, or copy it to a local disk"
            )

    def atoms(self) -> Sequence[Atom]:
        """Return runs of rows, from the header alone."""
        matrix = self._matrix
        return [
            Atom(
                (high - low) * matrix.inner,
                matrix.nbytes(low, high),
                f"rows {low * matrix.inner} to {high * matrix.inner - 1} of {self.name}",
                (low, high),
            )
            for low, high in matrix.cuts(self._step)
        ]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows."""
        fetch = self._map if self._location.local else self._download
        return Rows.of(self._matrix.read(atom.where[0], atom.rows or 0, rows, fetch))

    def _map(self, low: int, high: int) -> Array:
        mapped = np.load(self._location.path, mmap_mode="r", allow_pickle=False)
        if mapped.shape != self._matrix.shape or mapped.dtype != self._stored:
            raise DataError(f"{self.name} changed since it was opened; open it again")
        # A copy: rows that outlive the map would fault in later, on the kernel's time.
        return np.array(mapped[self._matrix.selection(low, high)])

    def _download(self, low: int, high: int) -> Array:
        matrix = self._matrix
        outer = range(*matrix.span) if matrix.lead == 1 else range(1)
        index = int(np.prod(matrix.shape[matrix.lead + 1 :], dtype=np.int64)) * self._stored.itemsize
        base = [self._offset + at * matrix.shape[matrix.lead] * index for at in outer]
        starts, ends = [at + low * index for at in base], [at + high * index for at in base]
        parts = self._location.filesystem.cat_ranges([self._location.path] * len(starts), starts, ends)
        short = [len(part) for part in parts if len(part) != (high - low) * index]
        if short:
            wanted = (high - low) * index
            raise DataError(f"{self.name} gave {short[0]} bytes where {wanted} were asked for; restore it")
        shape = (high - low, *matrix.shape[matrix.lead + 1 :])
        slab = np.frombuffer(b"".join(parts), self._stored)
        if matrix.lead == 1:
            return slab.reshape(len(outer), *shape)
        slab = slab.reshape(shape)
        features = [slice(None)] * slab.ndim
        if matrix.feature_axis is not None:
            features[matrix.feature_axis] = slice(*matrix.span)
        return slab[tuple(features)]


def _header(location: Location) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    with location.filesystem.open(location.path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            shape, fortran_order, dtype = _HEADERS[version](file)
        except (ValueError, KeyError) as error:
            text = f"{location.name} is no .npy file that can be read ({error}); write it with np.save"
            raise DataError(text) from error
        offset = file.tell()
    size = int(location.filesystem.size(location.path))
    wanted = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not dtype.hasobject and size < wanted:
        raise DataError(f"{location.name} is truncated: {size} bytes where its header tells of {wanted}; restore it")
    return shape, fortran_order, dtype, offset
