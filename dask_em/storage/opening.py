"""The door for data: whatever a user gives becomes a source, or a sentence that says what is accepted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.errors import DataError, InputError, did_you_mean
from dask_em.storage.late import member
from dask_em.storage.location import Location, suffix_of
from dask_em.storage.retrying import Retrying
from dask_em.storage.secrets import without_credentials
from dask_em.storage.source import Source
from dask_em.storage.weighted import Beside, Weighted

__all__ = ["open_source"]

EXAMPLE = "example:"


@dataclass(frozen=True)
class _Format:
    """A kind of data: what opens it, and which settings it has a use for."""

    said: str
    module: str
    source: str
    settings: frozenset[str]

    def open(self, data: Any, given: Mapping[str, Any]) -> Source:
        """Open data with the settings that were given; refuse one that means nothing here."""
        for setting in given:
            if setting not in self.settings:
                raise InputError(f"{setting} does not apply to {self.said}; leave it out")
        made = member(self.module, self.source)
        if not isinstance(data, str):
            source: Source = made(data, **given)
            return source
        opened: Source = Retrying()(lambda: made(data, **given), without_credentials(data), "opening")
        return opened


_MATRIX = {"columns", "feature_axis", "rows_per_atom"}
_FILE = {"storage_options"}
_ZARR = _MATRIX | {"weights", "missing_chunks"}
_FORMATS = {
    "zarr": _Format("Zarr", "zarr", "open_zarr", frozenset(_ZARR | _FILE | {"array", "reader"})),
    "npy": _Format("a .npy file", "numpy", "NpySource", frozenset(_MATRIX | _FILE)),
    "parquet": _Format("Parquet", "parquet", "ParquetSource", frozenset({"columns", "weights"} | _FILE)),
}
_IN_MEMORY = {
    "array": _Format("an array in memory", "numpy", "ArraySource", frozenset(_MATRIX)),
    "frame": _Format("a frame", "pandas", "FrameSource", frozenset({"columns", "weights", "rows_per_atom"})),
    "zarr": _Format("an opened zarr array", "zarr", "open_zarr", frozenset(_ZARR)),
}
_SUFFIXES = {".zarr": "zarr", ".zarr.zip": "zarr", ".npy": "npy", ".parquet": "parquet", ".pq": "parquet"}
_KNOWN = "known are zarr (.zarr, .zarr.zip), npy (.npy) and parquet (.parquet, .pq, a folder of them, a glob)"
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def open_source(  # noqa: PLR0913  # each argument is a key of the config
    data: Any,
    *,
    format: str | None = None,  # noqa: A002  # the config's word
    array: str | None = None,
    columns: Sequence[Any] | None = None,
    feature_axis: int | None = None,
    rows_per_atom: int | None = None,
    weights: Any = None,
    missing_chunks: str = "error",
    storage_options: Mapping[str, Any] | None = None,
    reader: str = "fsspec",
) -> Source:
    """Return the source for what a user gave.

    Parameters
    ----------
    data : str, path, array_like, DataFrame, zarr.Array or Source
        A path or URL (Zarr, .npy, Parquet: a file, a folder or a glob), ``"example:photo-patches"``, rows in memory,
        or a source, which is returned as it is.
    format : {"zarr", "npy", "parquet"}, optional
        What a path holds, where its name does not tell.
    array : str, optional
        The array of a Zarr group.
    columns : sequence, optional
        Names, or positions where there are none.
    feature_axis : int, optional
        The axis of the features of an array.
    rows_per_atom : int, optional
        Rows of a storage unit where storage has none.
    weights : str, array_like, zarr.Array or Source, optional
        The column with the rows' weights, or the path of an array (n,) in the rows' Zarr store; or the weights
        themselves, of which a ``zarr.Array`` and a source of one column are read with the rows.
    missing_chunks : {"error", "fill"}
        What a missing Zarr chunk means.
    storage_options : mapping, optional
        For a remote file system: fsspec's, or those of obstore's store.
    reader : {"fsspec", "obstore"}
        What reads Zarr at a URL.

    Raises
    ------
    InputError
        The data is of a type that is not accepted, or an argument does not apply to it.
    DataError
        It is not there, or cannot be used.
    """
    given = {
        "array": array,
        "columns": columns,
        "feature_axis": feature_axis,
        "rows_per_atom": rows_per_atom,
        "weights": weights if isinstance(weights, str) else None,
        "missing_chunks": None if missing_chunks == "error" else missing_chunks,
        "storage_options": storage_options or None,
        "reader": None if reader == "fsspec" else reader,
    }
    source = _open(data, format, {key: value for key, value in given.items() if value is not None})
    return source if weights is None or isinstance(weights, str) else _weighted(source, data, weights)


def _weighted(source: Source, data: Any, weights: Any) -> Source:
    """Return the source with weights beside it: weights at rest stay there, unless the rows are in memory."""
    if _is_source(weights):
        return Beside(source, weights)
    at_rest = _kind(weights) == "zarr" and _kind(data) not in ("array", "frame")
    return Beside(source, open_source(weights)) if at_rest else Weighted(source, weights)


def _open(data: Any, said: str | None, given: dict[str, Any]) -> Source:
    if isinstance(data, str | os.PathLike):
        return _open_path(os.fspath(data), said, given)
    if said is not None:
        raise InputError(f"format does not apply to a {type(data).__name__}; it tells what a path holds: leave it out")
    if _is_source(data):
        if given:
            raise InputError(f"{next(iter(given))} does not apply to a source, which is ready; leave it out")
        found: Source = data
        return found
    kind = _kind(data)
    if kind is None:
        raise InputError(
            f"data of type {type(data).__module__}.{type(data).__qualname__} is not accepted; give a path or URL, "
            "a NumPy array, a pandas frame, a zarr array, a Dask collection, or an object with schema, name, "
            "atoms and load"
        )
    return _IN_MEMORY[kind].open(data, given)


def _is_source(data: Any) -> bool:
    """Say whether an object's class has what a source has: a ``dask.delayed`` seems to have every attribute."""
    return isinstance(data, Source) and hasattr(type(data), "atoms") and hasattr(type(data), "load")


def _kind(data: Any) -> str | None:
    if isinstance(data, np.ndarray | list | tuple):
        return "array"
    for base in type(data).__mro__:
        library, name = base.__module__.partition(".")[0], base.__name__
        if library == "pandas" and name in {"DataFrame", "Series"}:
            return "frame"
        if library == "zarr" and name == "Array":
            return "zarr"
    return None


def _open_path(path: str, said: str | None, given: dict[str, Any]) -> Source:
    if path.startswith(EXAMPLE):
        if said not in (None, "zarr"):
            raise InputError(f"format {said!r} does not apply to an example, which is Zarr; leave it out")
        return _FORMATS["zarr"].open(member("examples", "example")(path.removeprefix(EXAMPLE)), given)
    if said is not None and said not in _FORMATS:
        raise InputError(f"there is no format {said!r}.{did_you_mean(said, _FORMATS)} Of formats, {_KNOWN}")
    return _FORMATS[said or _format_of(path, given)].open(path, given)


def _format_of(path: str, given: Mapping[str, Any]) -> str:
    by_name = _SUFFIXES.get(suffix_of(path))
    if by_name is not None:
        return by_name
    if "reader" in given:
        return "zarr"  # it reads nothing else
    location = Location.of(path, given.get("storage_options"))
    return Retrying()(lambda: _format_at(location), location.name, "opening")


def _format_at(location: Location) -> str:
    if any(mark in location.path for mark in "*?["):
        raise DataError(f"what {location.name} holds cannot be told from its ending; give format: {_KNOWN}")
    if location.require().is_folder():
        if any(location.child(file).exists() for file in _ZARR_FILES):
            return "zarr"
        if any(name.lower().endswith((".parquet", ".pq")) for name in location.filesystem.find(location.path)):
            return "parquet"
        raise DataError(f"the folder {location.name} holds neither a Zarr store nor Parquet files; {_KNOWN}")
    ending = f"has the ending {location.suffix!r}" if location.suffix else "has no ending"
    raise DataError(f"{location.name} {ending}, from which no format can be told; give format, or rename it: {_KNOWN}")
