"""The machinery of parameters, statistics and states: frozen records of arrays.

A record is a frozen dataclass whose fields are arrays, numbers, strings, None, records, or tuples of these.
It yields ``(path, array)`` pairs, so one save and one load serve every record, users' own included, and none
of them needs pickle: a file names the record's type, and only types already imported are built from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

import numpy as np

from dask_em.errors import DataError, InternalError

__all__ = ["digest", "dump", "nbytes", "record", "restore", "static", "values_equal"]

T = TypeVar("T")

_TYPES: dict[str, type[Any]] = {}


def static(**options: Any) -> Any:
    """Return a field that is compared, never added: a reference, a hyperparameter, a name."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field, static))
def record(cls: type[T]) -> type[T]:
    """Make ``cls`` a record: a frozen dataclass, known by name to :func:`restore`."""
    made = dataclasses.dataclass(frozen=True, eq=False)(cls)
    _TYPES[_name(made)] = made
    return made


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def is_static(field: dataclasses.Field[Any]) -> bool:
    """Say whether a record's field is compared rather than added."""
    return bool(field.metadata.get("static", False))


def dump(value: Any) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """Return a JSON tree that describes ``value`` and the arrays it refers to, by path."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    return _dump(value, "", arrays), arrays


def _dump(value: Any, path: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic):
        return _dump(value.item(), path, arrays)
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise InternalError(f"{path or 'the value'} holds Python objects, which no file of ours may carry")
        arrays[path] = value
        return {"array": path}
    if isinstance(value, tuple):
        return {"tuple": [_dump(item, f"{path}/{i}" if path else str(i), arrays) for i, item in enumerate(value)]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and _name(type(value)) in _TYPES:
        fields = {
            f.name: _dump(getattr(value, f.name), f"{path}/{f.name}" if path else f.name, arrays)
            for f in dataclasses.fields(value)
        }
        return {"type": _name(type(value)), "fields": fields}
    raise InternalError(f"{path or 'the value'} is a {type(value).__name__}, which is no record field")


def restore(tree: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Rebuild what :func:`dump` described.

    Raises
    ------
    DataError
        A record type is not imported, or does not have the fields that the file gives.
    """
    if not isinstance(tree, dict):
        return tree
    if "float" in tree:
        return float.fromhex(tree["float"])
    if "array" in tree:
        return arrays[tree["array"]]
    if "tuple" in tree:
        return tuple(restore(item, arrays) for item in tree["tuple"])
    name = tree["type"]
    if name not in _TYPES:
        module = name.partition(":")[0]
        raise DataError(f"the file holds a {name}, which is not known here; import {module} first, then load again")
    fields = {key: restore(item, arrays) for key, item in tree["fields"].items()}
    try:
        return _TYPES[name](**fields)
    except TypeError as error:
        raise DataError(f"the file's {name} does not fit this version of it: {error}") from error


def fold(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply ``leaf`` to every added number and array of a record; static fields stay."""
    if isinstance(value, tuple):
        return tuple(fold(item, leaf) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: fold(getattr(value, f.name), leaf) for f in dataclasses.fields(value) if not is_static(f)}
        return dataclasses.replace(value, **changed)
    return None if value is None else leaf(value)


def values_equal(a: Any, b: Any) -> bool:
    """Say whether two records (or fields) hold the same bits; NaN equals NaN."""
    tree_a, arrays_a = dump(a)
    tree_b, arrays_b = dump(b)
    return bool(
        tree_a == tree_b
        and arrays_a.keys() == arrays_b.keys()
        and all(
            x.dtype == arrays_b[k].dtype and x.shape == arrays_b[k].shape and x.tobytes() == arrays_b[k].tobytes()
            for k, x in arrays_a.items()
        )
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of a record: equal exactly when every bit is."""
    tree, arrays = dump(value)
    hashed = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for path in sorted(arrays):
        array = np.ascontiguousarray(arrays[path])
        hashed.update(f"{path} {array.dtype.str} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def nbytes(value: Any) -> int:
    """Return the bytes of all arrays of a record."""
    return sum(array.nbytes for array in dump(value)[1].values())
