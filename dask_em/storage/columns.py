"""Which columns a source delivers: what may be asked for, and of what type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from dask_em.errors import DataError, InputError, did_you_mean

__all__ = [
    "CHOOSE",
    "choose_names",
    "choose_positions",
    "common_type",
    "plain_numbers",
    "require_numeric",
    "require_rows_per_atom",
]

CHOOSE = "choose them with data.columns in a config or columns= of dask_em.open_source"
WIDEST = 8  # bytes; a long double has no portable meaning in a file


def require_numeric(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """Return a type in the machine's byte order; refuse one that is no float of up to 64 bits, integer or bool."""
    if dtype.kind not in "fiub" or dtype.itemsize > WIDEST:
        raise DataError(
            f"{what} is of type {dtype}, which cannot be used; "
            "give float16, float32, float64, integers or bool (convert it, or choose other columns)"
        )
    return dtype.newbyteorder("=")


def plain_numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of Python objects as float64 where every one is a number; any other array as it is."""
    if array.dtype != object or not all(isinstance(entry, Real | np.bool) for entry in array.flat):
        return array
    try:
        return array.astype(np.float64)
    except OverflowError:  # an integer beyond float64
        return array


def require_rows_per_atom(rows_per_atom: int | None) -> None:
    """Refuse a number of rows that is not a positive integer."""
    whole = isinstance(rows_per_atom, int | np.integer) and not isinstance(rows_per_atom, bool)
    if rows_per_atom is not None and (not whole or rows_per_atom < 1):
        raise InputError(f"rows_per_atom is {rows_per_atom!r}; give an integer of at least 1, or leave it out")


def common_type(types: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the one type that holds the values of several columns, by NumPy's rules of promotion."""
    return np.result_type(*types)


def choose_names(columns: Sequence[Any] | str | None, known: Sequence[Any], what: str) -> list[Any] | None:
    """Return the names asked for, all of them known and none twice; None where none were asked for."""
    if columns is None:
        return None
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in known:
            raise DataError(f"{what} has no column {name!r}.{did_you_mean(str(name), map(str, known))}")
    _refuse_twice(names)
    return names


def choose_positions(columns: Sequence[Any] | str | int | None, width: int, what: str) -> tuple[int, ...] | None:
    """Return the positions asked for, all of them there and none twice; None where none were asked for."""
    if columns is None:
        return None
    asked = [columns] if isinstance(columns, str | int) else list(columns)
    for position in asked:
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise DataError(
                f"{what} has no named columns, so {position!r} cannot be found in it; "
                f"give column numbers from 0 to {width - 1}"
            )
        if not 0 <= position < width:
            raise DataError(f"{what} has no column {position}; its columns are 0 to {width - 1}")
    _refuse_twice(asked)
    return tuple(int(position) for position in asked)


def _refuse_twice(asked: Sequence[Any]) -> None:
    twice = [column for column in asked if asked.count(column) > 1]
    if twice:
        raise DataError(f"column {twice[0]!r} is asked for twice; name each column once")
