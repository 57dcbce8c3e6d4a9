"""Where the triangles of square matrices lie, row by row: found once for each size, since each pass asks many times."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

__all__ = ["halves", "lower", "symmetric", "upper"]

Array = np.ndarray[Any, Any]


@cache
def upper(d: int) -> Array:
    """Return where the upper triangle lies in a flattened matrix, (d (d + 1) / 2,)."""
    return _fixed(np.flatnonzero(np.tri(d).T))


@cache
def lower(d: int) -> Array:
    """Return where the lower triangle lies in a flattened matrix, (d (d + 1) / 2,)."""
    return _fixed(np.flatnonzero(np.tri(d)))


@cache
def halves(d: int) -> Array:
    """Return ½ where the upper triangle has the diagonal, and 1 elsewhere: ½ xᵀΛx = Σ_i≤j halves λ_ij x_i x_j."""
    return _fixed((np.ones((d, d)) - np.eye(d) / 2).ravel()[upper(d)])


def symmetric(triangles: Array, d: int) -> Array:
    """Return the matrices (..., d, d) whose upper triangles (..., d (d + 1) / 2) are given."""
    return np.take(triangles, _places(d), axis=-1).reshape(*triangles.shape[:-1], d, d)


@cache
def _places(d: int) -> Array:
    """Return where each element of a symmetric matrix lies in its upper triangle, (d d,)."""
    places = np.zeros(d * d, np.int64)
    places[upper(d)] = np.arange(d * (d + 1) // 2)
    return _fixed(np.maximum(places, places.reshape(d, d).T.ravel()))


def _fixed(places: Array) -> Array:
    """Return what everybody shares as an array that nobody writes to."""
    places.flags.writeable = False
    return places
