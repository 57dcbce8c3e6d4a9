"""Parquet files: one, a folder, or a glob."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_em.errors import DataError, InputError
from dask_em.rows import Rows, Schema
from dask_em.storage.columns import CHOOSE, choose_names, common_type, require_numeric
from dask_em.storage.destination import CLAIM, unfinished
from dask_em.storage.location import Location
from dask_em.storage.source import Atom

__all__ = ["ParquetSource"]

Array = np.ndarray[Any, Any]
ENDINGS = (".parquet", ".pq")


@dataclass(frozen=True)
class _Footer:
    metadata: Any
    schema: Any  # of Arrow: knows lists of fixed size


class ParquetSource:
    """Scalar numeric columns, or one column of lists of fixed size; its atoms are row groups.

    Gaps become NaN; integers and truth values that have any, or may have some as far as the footers tell, become
    float64. Everything but the rows is read from the footers.

    Parameters
    ----------
    url : str or path
        A file, a folder (all .parquet and .pq files below it, in order of their names; names that begin with ``_``
        or ``.`` are left out), or a glob.
    columns : sequence of str, optional
        By default all but the weights, which must then all be numeric.
    weights : str, optional
        The column that holds the rows' weights.
    storage_options : mapping, optional
        For the remote file system.

    Raises
    ------
    DataError
        There is no such file or column, a column is not numeric, or files differ in their columns.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        columns: Sequence[str] | None = None,
        weights: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._location = Location.of(url, storage_options)
        self.name: str = self._location.name
        self._weights = weights
        files = self._files()
        footers = [_footer(*file) for file in files]
        first = footers[0].schema
        self._columns = _chosen(first, columns, weights, self.name)
        everything = columns is None
        for (location, _), footer in zip(files, footers, strict=True):
            _require_same(first, footer.schema, None if everything else self._read_columns, location.name)
        fields = [first.field(name) for name in self._columns]
        self.schema: Schema = _schema(fields, [footer.metadata for footer in footers], self.name)
        self._atoms: list[Atom] | None = self._plan(files, footers)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_atoms": None}  # they travel on their own, and can be found again

    @property
    def _read_columns(self) -> list[str]:
        return list(dict.fromkeys([*self._columns, *([] if self._weights is None else [self._weights])]))

    def atoms(self) -> Sequence[Atom]:
        """Return the row groups, file after file, from the footers alone."""
        if self._atoms is None:
            self._atoms = self._location.attempt(self._found_again)
        return self._atoms

    def _found_again(self) -> list[Atom]:
        files = self._files()
        return self._plan(files, [_footer(*file) for file in files])

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """Read (some of) an atom's rows.

        Raises
        ------
        DataError
            The file changed since it was opened.
        """
        location, version, group = atom.where
        with _reader(location, _footer(location, version).metadata) as reader:
            table = reader.read_row_group(group, columns=self._read_columns, use_threads=False)
        if table.num_rows != atom.rows:
            raise DataError(f"{location.name} changed since it was opened; open it again")
        start, stop, _ = rows.indices(table.num_rows)
        table = table.slice(start, max(0, stop - start))
        values = self._values(table)
        if self._weights is None:
            return Rows.of(values)
        return Rows.of(values, _numbers(table.column(self._weights), np.dtype(np.float64)))

    def _values(self, table: Any) -> Array:
        dtype = self.schema.dtype
        if pa.types.is_fixed_size_list(table.schema.field(self._columns[0]).type):
            return _lists(table.column(self._columns[0]), dtype)
        values = np.empty((table.num_rows, len(self._columns)), dtype)
        for position, name in enumerate(self._columns):
            values[:, position] = _numbers(table.column(name), dtype)
        return values

    def _files(self) -> list[tuple[Location, str]]:
        here = self._location
        found = _paths(here)
        if not found:
            raise DataError(f"no .parquet files in {here.name}; check the path")
        named = [Location(p, here.filesystem, here.name if p == here.path else p, p, here.options) for p in found]
        return [(location, location.version()) for location in named]

    def _plan(self, files: list[tuple[Location, str]], footers: list[_Footer]) -> list[Atom]:
        row = self.schema.features * self.schema.dtype.itemsize + (0 if self._weights is None else 8)
        atoms = []
        for (location, version), footer in zip(files, footers, strict=True):
            for group in range(footer.metadata.num_row_groups):
                rows = footer.metadata.row_group(group).num_rows
                place = f"row group {group} of {location.name}"
                atoms.append(Atom(rows, rows * row, place, (location, version, group)))
        return atoms


def _reader(location: Location, metadata: Any = None) -> Any:
    if location.local:
        return pq.ParquetFile(location.path, metadata=metadata)
    # Arrow joins the ranges it wants; a second cache below it would only read more.
    file = location.filesystem.open(location.path, "rb", cache_type="none")
    return pq.ParquetFile(file, metadata=metadata, pre_buffer=True)


@lru_cache(maxsize=128)
def _footer(location: Location, version: str) -> _Footer:  # noqa: ARG001  # the version keeps a rewritten file apart
    try:
        with _reader(location) as reader:
            return _Footer(reader.metadata, reader.schema_arrow)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{location.name} is no Parquet file that can be read ({error}); it may be truncated: restore it"
        ) from error


def _paths(location: Location) -> list[str]:
    system, path = location.filesystem, location.path
    if any(mark in path for mark in "*?["):
        found = [name for name in system.glob(path) if not system.isdir(name)]
    elif location.require().is_folder():
        everything = system.find(path)
        if any(name.rpartition("/")[2] == CLAIM for name in everything):
            raise unfinished(location) or DataError(f"{location.name} has just been written; read it again")
        found = [name for name in everything if name.lower().endswith(ENDINGS)]
    else:
        return [path]
    hidden = ("_", ".")
    return sorted(name for name in found if not any(p.startswith(hidden) for p in _below(name, path)))


def _below(name: str, root: str) -> list[str]:
    return name.removeprefix(root.rstrip("/") + "/").split("/") if name.startswith(root) else [name.rpartition("/")[2]]


def _chosen(schema: Any, columns: Sequence[str] | None, weights: str | None, name: str) -> list[str]:
    known = list(schema.names)
    twice = [column for column in known if known.count(column) > 1]
    if twice:
        raise DataError(f"{name} has two columns named {twice[0]!r}; write it anew with each column named differently")
    if weights is not None:
        choose_names([weights], known, name)
        require_numeric(_numpy_type(schema.field(weights).type, f"column {weights!r} of {name}", ""), "the weights")
    chosen = choose_names(columns, known, name)
    if chosen is None:
        chosen = [column for column in known if column != weights]
    remedy = CHOOSE if columns is None else "leave it out or convert it"
    lists = []
    for column in chosen:
        what, kind = f"column {column!r} of {name}", schema.field(column).type
        if pa.types.is_fixed_size_list(kind):
            lists.append(column)
            kind = kind.value_type
        require_numeric(_numpy_type(kind, what, remedy), what)
    if lists and len(chosen) > 1:
        raise DataError(
            f"column {lists[0]!r} of {name} holds lists, and a column of lists is taken alone; "
            f"{remedy if columns is None else 'choose either it or scalar columns'}"
        )
    return chosen


def _numpy_type(kind: Any, what: str, remedy: str) -> np.dtype[Any]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        raise DataError(f"{what} holds lists of varying length; write it as a list of fixed size")
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not numeric:
        raise DataError(f"{what} is of type {kind}, which is not numeric; {remedy or 'name a numeric column'}")
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype


def _require_same(first: Any, other: Any, columns: list[str] | None, name: str) -> None:
    wanted = list(first.names) if columns is None else columns
    if columns is None and set(other.names) != set(wanted):
        differing = min(set(other.names) ^ set(wanted))
        raise DataError(
            f"{name} differs from the first file: only one of them has a column {differing!r}; "
            "choose columns that all files have"
        )
    for column in wanted:
        if column not in other.names:
            raise DataError(f"{name} has no column {column!r}, which the first file has; write it anew or leave it out")
        here, there = other.field(column).type, first.field(column).type
        if here != there:
            raise DataError(
                f"column {column!r} of {name} is of type {here}, and in the first file of type {there}; write it anew"
            )


def _schema(fields: list[Any], footers: list[Any], name: str) -> Schema:
    if len(fields) == 1 and pa.types.is_fixed_size_list(fields[0].type):
        kind = fields[0].type
        return Schema(kind.list_size, _type_of(kind.value_type, fields[0].name, footers))
    if not fields:
        raise InputError(f"{name} has no columns but the weights; choose at least one")
    dtype = common_type(_type_of(field.type, field.name, footers) for field in fields)
    return Schema(len(fields), dtype, tuple(field.name for field in fields))


def _type_of(kind: Any, column: str, footers: list[Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    if dtype.kind == "f" or not any(_may_have_gaps(footer, column) for footer in footers):
        return dtype
    return np.dtype(np.float64)


def _may_have_gaps(footer: Any, column: str) -> bool:
    paths = [footer.schema.column(leaf).path for leaf in range(footer.num_columns)]
    leaves = [leaf for leaf, path in enumerate(paths) if path == column or path.startswith(column + ".")]
    for group in range(footer.num_row_groups):
        for leaf in leaves:
            told = footer.row_group(group).column(leaf).statistics
            if footer.schema.column(leaf).max_definition_level and (
                told is None or not told.has_null_count or told.null_count
            ):
                return True
    return False


def _numbers(column: Any, dtype: np.dtype[Any]) -> Array:
    """Return a column (or array) of scalars as NumPy, gaps as NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())  # else gaps would make Python objects of it
    options = {} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False}
    return np.asarray(column.to_numpy(**options), dtype)


def _lists(column: Any, dtype: np.dtype[Any]) -> Array:
    """Return a column of lists of fixed size as (n, d); a row that is null is NaN (flatten() would drop it)."""
    size, at = column.type.list_size, 0
    values = np.empty((len(column), size), dtype)
    for chunk in column.chunks:
        part = values[at : at + len(chunk)]
        leaves = chunk.values.slice(chunk.offset * size, len(chunk) * size)
        part[:] = _numbers(leaves, dtype).reshape(-1, size)
        if chunk.null_count:
            part[chunk.is_null().to_numpy(zero_copy_only=False)] = np.nan
        at += len(chunk)
    return values
