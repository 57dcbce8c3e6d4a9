"""The passes over a slab: the E-step and the predictions, by whichever sibling serves the model.

The compiled kernel is taken where numba is installed and the components are Gaussian, the reference elsewhere. Both
give the same to rounding.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from dask_em.families.factored import FactoredForm
from dask_em.kernel import reference
from dask_em.kernel.layout import Packed, pack
from dask_em.kernel.room import Room, Sums, room
from dask_em.kernel.survey import fault
from dask_em.mixture import MixtureStatistics, PreparedMixture
from dask_em.rows import Rows
from dask_em.statistics import Joint, Score

__all__ = ["compile_ahead", "compiled_kernel", "labels", "log_density", "responsibilities", "score", "summarize"]

Array = np.ndarray[Any, Any]
ROOM = 20  # of a weight's exponent in float32, whose squares of values need the rest
_PACKED: WeakKeyDictionary[PreparedMixture, Packed] = WeakKeyDictionary()
_PACKING = Lock()


@cache
def compiled_kernel() -> Any | None:
    """Return the compiled sibling's functions, or None where numba is missing or does not fit."""
    if find_spec("numba") is None:
        return None
    try:
        return importlib.import_module("dask_em.kernel.compiling")
    except ImportError as error:  # numba refuses a NumPy that is newer than it
        warnings.warn(f"numba cannot be used ({error}); the slower NumPy kernel is", RuntimeWarning, stacklevel=2)
        return None


def compile_ahead(stored: np.dtype[Any]) -> None:
    """Begin to compile what rows stored as a type will need, unless that is done: it goes on beside the caller."""
    functions = compiled_kernel()
    if functions is not None:
        functions.compile_ahead(_taken(stored))


def summarize(models: tuple[PreparedMixture, ...], tile_rows: int, rows: Rows) -> Joint:
    """Return the statistics of each model: one look at the rows serves them all."""
    slow = tuple(model for model in models if not _is_compiled(model, rows))
    others = iter(reference.summarize(slow, tile_rows, rows) if slow else ())
    return Joint(
        tuple(_summarize(model, tile_rows, rows) if _is_compiled(model, rows) else next(others) for model in models)
    )


def _is_compiled(model: PreparedMixture, rows: Rows) -> bool:
    gaussian, on_cpu = isinstance(model.prepared, FactoredForm), isinstance(rows.values, np.ndarray)
    return gaussian and on_cpu and compiled_kernel() is not None


def _summarize(model: PreparedMixture, tile_rows: int, rows: Rows) -> MixtureStatistics:
    packed = _packed(model)
    sums, space, functions = Sums(packed, rows.workspace), _room(model, packed, tile_rows, rows), compiled_kernel()
    assert functions is not None  # the caller looked
    unit = _unit(packed, rows.weight)
    weight = _frozen(rows.weight if unit == 1.0 else rows.weight / unit)
    values = _values(rows)
    functions.compile_apart("summarize", values.dtype, packed.dtype)
    seen = functions.summarize(packed.kind, values, weight, packed.shape, packed.model, space, sums.arrays)
    found = sums.statistics(len(rows), *seen)
    return found if unit == 1.0 else dataclasses.replace(unit * found, rows=len(rows))


def _unit(packed: Packed, weight: Array) -> float:
    """Return the power of four that weights are told in, so that float32 has room for their roots; 1 as a rule."""
    exponent = 0 if packed.dtype == np.float64 else int(np.frexp(weight.max())[1])
    return 1.0 if abs(exponent) <= ROOM else 4.0 ** (exponent // 2)


def _packed(model: PreparedMixture) -> Packed:
    """Lay a model out, once in a process: its threads share what they only read."""
    with _PACKING:
        if model not in _PACKED:
            _PACKED[model] = pack(model, np.float32 if model.prepared.single else np.float64)
        return _PACKED[model]


def _room(model: PreparedMixture, packed: Packed, tile_rows: int, rows: Rows) -> Room:
    """Return the arrays that this thread works in, found once a model."""
    kept, key = rows.workspace.kept(model), ("room", tile_rows)
    if key not in kept:
        kept[key] = room(packed, tile_rows, rows.workspace)
    found: Room = kept[key]
    return found


def _values(rows: Rows) -> Array:
    return _frozen(np.require(rows.values, _taken(rows.values.dtype), ["C", "A"]))


def _taken(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which the compiled kernel takes values of any type."""
    return np.dtype(stored.type) if stored in (np.float32, np.float64) else np.dtype(np.float64)


def _frozen(array: Array) -> Array:
    """Return an array as one that is not written to: numba would compile once more for rows that cannot be."""
    view = np.require(array, None, ["C", "A"]).view()
    view.flags.writeable = False
    return view


def _evaluate(model: PreparedMixture, tile_rows: int, rows: Rows, wide: bool) -> tuple[Array, Array]:
    density = np.empty(len(rows))
    resp = np.empty((len(rows), len(model.log_weights) if wide else 0))
    functions = compiled_kernel()
    if functions is not None and _is_compiled(model, rows):
        packed = _packed(model)
        space, values = _room(model, packed, tile_rows, rows), _values(rows)
        functions.compile_apart("evaluate", values.dtype, packed.dtype)
        functions.evaluate(packed.kind, values, packed.shape, packed.model, space, packed.centre, (density, resp))
    else:
        reference.evaluate(model, tile_rows, rows, density, resp if wide else None)
    return density, resp


def log_density(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return log p(x) of each row in nats, (n,)."""
    return _evaluate(model, tile_rows, rows, wide=False)[0]


def responsibilities(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return the posterior probability of each component, (n, k)."""
    return _evaluate(model, tile_rows, rows, wide=True)[1]


def labels(model: PreparedMixture, tile_rows: int, rows: Rows) -> Array:
    """Return the most probable component of each row, (n,) int64."""
    return np.asarray(responsibilities(model, tile_rows, rows).argmax(axis=1), np.int64)


def score(model: PreparedMixture, tile_rows: int, rows: Rows) -> Score:
    """Return the log-likelihood of a slab and its weight; of one with a value that cannot be used, that alone."""
    found = fault(rows)
    if found.row >= 0:
        return Score(len(rows), 0.0, 0.0, found)
    weight = rows.arrays.back(rows.weight)
    return Score(len(rows), float(weight.sum()), float(weight @ log_density(model, tile_rows, rows)), found)
