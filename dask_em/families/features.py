"""Feature maps of exponential families: what two matrix products need to know of a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.families.triangles import upper
from dask_em.family import FeatureMap
from dask_em.rows import Arrays

__all__ = ["Linear", "Products", "SquaredNorm", "Squares"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Products(FeatureMap):
    """[1, x, vech(x xᵀ)], the upper triangle row by row."""

    def size(self, features: int) -> int:
        return (features + 1) * (features + 2) // 2

    def build(self, arrays: Arrays, x: Array, out: Array) -> None:
        d = x.shape[0]
        at = 1 + d
        for i in range(d):
            arrays.fill(out[at : at + d - i, :], arrays.xp.multiply, x[i:, :], x[i, :])
            at += d - i

    def translate(self, products: Array, shifts: Array) -> Array:
        rows, columns = divmod(upper(shifts.shape[1]), shifts.shape[1])
        sums, moved = _sums(products, shifts)
        cross = sums[:, rows] * shifts[:, columns] + shifts[:, rows] * moved[:, columns]
        return _translated(products, moved, cross)


@dataclass(frozen=True)
class Squares(FeatureMap):
    """[1, x, x²]."""

    def size(self, features: int) -> int:
        return 1 + 2 * features

    def build(self, arrays: Arrays, x: Array, out: Array) -> None:
        arrays.fill(out[1 + x.shape[0] :, :], arrays.xp.multiply, x, x)

    def translate(self, products: Array, shifts: Array) -> Array:
        sums, moved = _sums(products, shifts)
        return _translated(products, moved, shifts * (sums + moved))


@dataclass(frozen=True)
class SquaredNorm(FeatureMap):
    """[1, x, |x|²]."""

    def size(self, features: int) -> int:
        return features + 2

    def build(self, arrays: Arrays, x: Array, out: Array) -> None:
        squares = arrays.xp.multiply(x, x, **arrays.out("mapped", x.shape))
        arrays.fill(out[1 + x.shape[0], :], arrays.xp.sum, squares, axis=0)

    def translate(self, products: Array, shifts: Array) -> Array:
        sums, moved = _sums(products, shifts)
        return _translated(products, moved, (shifts * (sums + moved)).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Linear(FeatureMap):
    """[1, x]."""

    def size(self, features: int) -> int:
        return 1 + features

    def build(self, arrays: Arrays, x: Array, out: Array) -> None:
        """Add nothing: [1, x] is there already."""

    def translate(self, products: Array, shifts: Array) -> Array:
        return _translated(products, _sums(products, shifts)[1], np.empty((len(shifts), 0)))


def _sums(products: Array, shifts: Array) -> tuple[Array, Array]:
    """Return Σ r x and Σ r (x + s), (k, d)."""
    sums = products[:, 1 : 1 + shifts.shape[1]]
    return sums, sums + products[:, :1] * shifts


def _translated(products: Array, moved: Array, added: Array) -> Array:
    """Return products with other sums of x, and with what is added to the rest: (x + s)² = x² + s x + s (x + s)."""
    return np.concatenate([products[:, :1], moved, products[:, 1 + moved.shape[1] :] + added], axis=1)
