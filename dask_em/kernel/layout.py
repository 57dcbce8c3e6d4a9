"""How the compiled kernel wants parameters, room and sums: padded, interleaved, flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dask_em.families.covariances import Full, Tied
from dask_em.families.factored import FactoredForm
from dask_em.families.triangles import symmetric
from dask_em.families.variances import Diagonal
from dask_em.family import ProductStatistics
from dask_em.mixture import MixtureStatistics, PreparedMixture
from dask_em.rows import Workspace

__all__ = [
    "BYTES",
    "CHUNK",
    "DIAGONAL",
    "GROUP",
    "LANES",
    "SCREENED",
    "SHARED",
    "STRETCH",
    "TRIANGULAR",
    "UNIT",
    "VECTORS",
    "WIDE",
    "Packed",
    "Sums",
    "pack",
    "room",
]

Array = np.ndarray[Any, Any]
BYTES, LANES = 64, 8  # of a vector; float64 in it
VECTORS, GROUP = 6, 4  # of rows in a block, whatever the CPU's registers; coordinates or components at a time
TILE_BYTES, TILE_LEAST = 512 * 1024, 480  # of a tile's rows and densities, near the L2 cache; rows, where they are wide
STRETCH = 96  # rows: a block in float32, two in float64
WIDE = BYTES // 4  # columns of float32 at a time
SCREENED = 20  # columns from which float32 may tell first which components a row is near
CHUNK = 128  # rows of one component that are multiplied together: they stay in the L1 and L2 caches
UNBOUNDED = 1e150  # of an error
INEXACT = 1e-14  # of a share: what float32 may make of it, which is what float64 makes of one near 1
FAINT = 1e-10  # and above this no share is left to float32, whatever the bound
TRIANGULAR, DIAGONAL, UNIT, SHARED = range(4)  # U: a triangle for each component, a row, a number; one triangle for all


@dataclass(frozen=True)
class Packed:
    """A mixture of Gaussians as the compiled kernel reads it."""

    form: FactoredForm
    kind: int
    shape: tuple[int, int, int, int]  # k; d; d to a multiple of GROUP; d to a multiple of the lanes
    model: tuple[Any, ...]  # constants, means of the E-step, scales, triangles, zeros; what screens
    centre: Array  # of the frame, padded
    means: Array  # (k to a multiple of GROUP, and one; width): of the M-step, and zeros
    dtype: np.dtype[Any]  # computed in

    @property
    def is_screened(self) -> bool:
        """Whether float32 is asked first."""
        return len(self.model[-1][0]) > 0


def pack(model: PreparedMixture, dtype: npt.DTypeLike = np.float64) -> Packed:
    """Lay a prepared mixture out."""
    form: FactoredForm = model.prepared
    kind, dtype = _kind(form), np.dtype(dtype)
    (k, d), lanes = form.means.shape, BYTES // dtype.itemsize
    groups, padded, width = (-(-n // to) * to for n, to in ((k, GROUP), (d, GROUP), (d, lanes)))
    constant = np.full(groups, -np.inf)
    constant[:k] = form.constant + model.log_weights
    factor, triangle, scale = form.factor, np.zeros((1, 0)), np.zeros(0)
    if kind == TRIANGULAR:
        shift = _padded(form.means, (k, padded))
        triangle = _triangles(_padded(np.broadcast_to(factor, (k, d, d)), (k, padded, padded)))
    else:
        means = form.means
        if kind == SHARED:
            triangle, means, scale = (
                _triangles(_padded(factor, (padded, padded))[None]),
                means @ factor,
                np.ones(groups),
            )
        elif kind == DIAGONAL:
            scale = _interleaved(_padded(factor**2, (groups, d)))
        else:
            scale = _padded(factor**2, (groups,))
        shift = _interleaved(_padded(means, (groups, d)))
    ahead = np.zeros(padded * GROUP)  # the last triangle is followed by room to be asked for early
    flat = (shift, scale, np.concatenate([triangle.ravel(), ahead]), np.zeros(padded))
    arrays = tuple(np.ascontiguousarray(array, dtype).ravel() for array in flat)
    screened = kind == TRIANGULAR and dtype == np.float64 and d >= SCREENED
    coarse = _coarse(model, arrays[0], arrays[2]) if screened else (*np.zeros((2, 0), np.float32), *np.zeros((3, 0)))
    centre, of_rows = _padded(form.frame.centre, (width + 2 * LANES,)), _padded(form.means, (groups + 1, width))
    return Packed(
        form, kind, (k, d, padded, width), (constant, *arrays, coarse), centre, of_rows.astype(dtype).ravel(), dtype
    )


def _kind(form: FactoredForm) -> int:
    if isinstance(form.covariance, Full):
        return TRIANGULAR
    if isinstance(form.covariance, Tied):
        return SHARED if form.accurate else TRIANGULAR
    return DIAGONAL if isinstance(form.covariance, Diagonal) else UNIT


def _coarse(model: PreparedMixture, shift: Array, triangles: Array) -> tuple[Any, ...]:
    """Return means and triangles in float32; for each component a bound of z's error, |μ|, and what a share may err by.

    |z_i − fl(z_i)| ≤ (i + 4) ε |u_i| (|x| + |μ|), ε = 2⁻²⁴, for the sum of i terms that z_i is (Higham 2002, §3.1), and
    for rounded x, μ and U: the bound is what this gives without |x| + |μ|. It is as large as can be where float32 has
    no room. Shares of a component that has less than its part of the rows may err by less.
    """
    form: FactoredForm = model.prepared
    k, d = form.means.shape
    columns = np.linalg.norm(np.broadcast_to(form.factor, (k, d, d)), axis=1)
    with np.errstate(over="ignore"):
        single = shift.astype(np.float32), triangles.astype(np.float32)
    reach = 2.0**-24 * np.linalg.norm(columns * np.arange(5, d + 5), axis=1)
    if not all(np.isfinite(array).all() for array in single):
        reach[:] = UNBOUNDED
    wrong = INEXACT * np.minimum(1.0, k * np.exp(model.log_weights))
    return (*single, reach, np.linalg.norm(form.means, axis=1), wrong)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape)
    out[tuple(slice(n) for n in array.shape)] = array
    return out


def _triangles(factors: Array) -> Array:
    """Return, for each factor (n, n), 4 rows of its first 4 columns, 8 rows of the next 4, and so on."""
    k, n, _ = factors.shape
    parts = [factors[:, : at + GROUP, at : at + GROUP].reshape(k, -1) for at in range(0, n, GROUP)]
    return np.concatenate(parts, axis=1)


def _interleaved(rows: Array) -> Array:
    """Return rows (groups of 4, d) as (groups, d, 4)."""
    return rows.reshape(-1, GROUP, rows.shape[1]).transpose(0, 2, 1)


def room(packed: Packed, tile_rows: int, space: Workspace) -> tuple[Any, ...]:
    """Return the arrays that a tile is worked on in."""
    k, d, _, width = packed.shape
    block, dtype = VECTORS * BYTES // packed.dtype.itemsize, packed.dtype
    fitting = TILE_BYTES // (dtype.itemsize * 2 * width + 8 * k)
    rows = -(-min(tile_rows, max(fitting, TILE_LEAST)) // STRETCH) * STRETCH
    groups = -(-k // GROUP) * GROUP
    turned = LANES * rows if d <= LANES else width * block  # few columns are kept for the sums
    columns = (space.array("columns", (turned,), dtype), space.array("mapped", (width * block,), dtype))
    return (
        space.array("rows", (rows * width,), dtype),
        space.array("joint", (groups * rows,)),
        columns,
        *(space.array(name, (rows,)) for name in ("scale", "weight", "density", "ones")),
        space.array("listed", (rows + block,), np.int64),
        space.array("root", (rows + LANES,), dtype),
        space.array("products", (CHUNK * width + CHUNK // 2 * LANES,), dtype),
        _coarse_room(packed, rows, space),
        space.array("moved", ((LANES + 1) * (STRETCH + (LANES + 2) // 2 * LANES),)),
    )


def _coarse_room(packed: Packed, rows: int, space: Workspace) -> tuple[Array, ...]:
    """Return the arrays for a tile in float32, a stretch of it in columns, and what is told of them."""
    k, d, _, _ = packed.shape
    if not packed.is_screened:
        k = d = rows = 0
    wide = -(-d // WIDE) * WIDE
    return (
        space.array("coarse", (rows * wide,), np.float32),
        space.array("coarse columns", (STRETCH * wide,), np.float32),
        space.array("far", (rows // STRETCH,)),
        space.array("faint", (k,)),
        space.array("near", (VECTORS * LANES,)),
    )


class Sums:
    """What the compiled kernel adds to, and how it is read."""

    def __init__(self, packed: Packed, space: Workspace) -> None:
        k, d, _, width = packed.shape
        size, triangle, groups = width * width, d * (d + 1) // 2, -(-k // GROUP) * GROUP
        seconds = {TRIANGULAR: k * size, SHARED: groups * width + size}.get(packed.kind, groups * width)
        lengths = {"counts": k, "first": (groups + 1) * width, "second": seconds}
        lanes = [space.array(name, (length,)) for name, length in lengths.items()]
        for array in lanes:
            array[:] = 0
        self.packed = packed
        width_of_products = 1 + d + (triangle if packed.kind == TRIANGULAR else d)
        self.products = np.empty((k, width_of_products))
        self.shared = np.zeros(1 + d + triangle)
        self.arrays = (*lanes, packed.centre, packed.means, self.products, self.shared)

    def statistics(self, rows: int, log_likelihood: float, weight: float) -> MixtureStatistics:
        """Return the sums as statistics about the means, or, where one scatter is shared, about the frame's origin."""
        (k, d, _, _), form, products = self.packed.shape, self.packed.form, self.products
        counts, first, quadratic = products[:, :1], products[:, 1 : 1 + d], products[:, 1 + d :]
        shared: Array | None = None
        reference: Array | None = form.means
        if form.covariance.is_shared:
            triangle = quadratic.sum(axis=0) if self.packed.kind == TRIANGULAR else self.shared[1 + d :]
            quadratic, shared = np.empty((k, 0)), symmetric(triangle, d)
        if self.packed.kind == SHARED:
            first, reference = first + counts * form.means, None
        elif self.packed.kind == UNIT:
            quadratic = quadratic.sum(axis=1, keepdims=True)
        if quadratic.base is not products:
            products = np.concatenate([counts, first, quadratic], axis=1)
        gathered = ProductStatistics(products, shared, form.frame.centre, reference)
        return MixtureStatistics(rows, weight, log_likelihood, counts[:, 0].copy(), gathered)
