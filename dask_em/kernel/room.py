"""The arrays that the compiled kernel works in and adds to, by name: numba takes a named tuple as it takes a tuple."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dask_em.families.triangles import symmetric
from dask_em.family import ProductStatistics
from dask_em.kernel.layout import (
    ABOUT_ORIGIN,
    BYTES,
    CHUNK,
    GROUP,
    LANES,
    SHARING,
    STRETCH,
    TRIANGLES,
    UNIT,
    UNIT_EXPANDED,
    VECTORS,
    WIDE,
    Packed,
)
from dask_em.mixture import MixtureStatistics
from dask_em.rows import Workspace

__all__ = ["Room", "Screen", "Sums", "Totals", "room"]

Array = np.ndarray[Any, Any]
TILE_BYTES, TILE_LEAST = 512 * 1024, 480  # of a tile's rows and densities, near the L2 cache; rows, where they are wide


class Screen(NamedTuple):
    """A tile in float32, and what is told of it; empty where float32 is not asked."""

    rows: Array  # (rows, d to a multiple of WIDE)
    columns: Array  # a stretch of them, turned
    far: Array  # (stretches,), the largest |x|
    faint: Array  # (k,), below which share of a row float32 is right enough
    found: Array  # (48,), densities of listed rows


class Room(NamedTuple):
    """What a tile is worked on in; ``stride`` rows fit."""

    rows: Array  # (stride, width), centred
    joint: Array  # (k to a multiple of GROUP, stride), log π_k p_k(x), then the share but for its scale
    columns: Array  # a block of rows, turned; of few columns the whole tile
    mapped: Array  # the same by the one U that components share
    scale: Array  # (stride,), weight over the sum of the shares
    weight: Array  # (stride,)
    density: Array  # (stride,), log p(x)
    ones: Array  # (stride,)
    listed: Array  # (stride and a block,) int64, rows that a component has a share in
    root: Array  # (stride and a vector,), their responsibilities' roots, or these
    products: Array  # CHUNK rows, √r (x − μ)
    screen: Screen
    moved: Array  # a stretch of few columns, about a mean
    lengths: Array  # (stride,), Σ_j x_j²
    features: Array  # a tile's, (features, block) block by block


def room(packed: Packed, tile_rows: int, space: Workspace) -> Room:
    """Return the arrays for tiles of a model, of so many rows at most."""
    k, _, _, width = packed.shape
    block, dtype = VECTORS * BYTES // packed.dtype.itemsize, packed.dtype
    fitting = TILE_BYTES // (dtype.itemsize * 2 * width + 8 * k)
    most = STRETCH if packed.features else max(fitting, TILE_LEAST)  # features stay in the L2 cache
    rows = -(-min(tile_rows, most) // STRETCH) * STRETCH
    return Room(
        rows=space.array("rows", (rows * width,), dtype),
        joint=space.array("joint", (-(-k // GROUP) * GROUP * rows,)),
        columns=space.array("columns", (LANES * rows if packed.is_narrow else width * block,), dtype),
        mapped=space.array("mapped", (width * block,), dtype),
        scale=space.array("scale", (rows,)),
        weight=space.array("weight", (rows,)),
        density=space.array("density", (rows,)),
        ones=space.array("ones", (rows,)),
        listed=space.array("listed", (rows + block,), np.int64),
        root=space.array("root", (rows + LANES,), dtype),
        products=space.array("products", (CHUNK * width + CHUNK // 2 * LANES,), dtype),
        screen=_screen(packed, rows, space),
        moved=space.array("moved", ((LANES + 1) * (STRETCH + (LANES + 2) // 2 * LANES),)),
        lengths=space.array("lengths", (rows,)),
        features=space.array("features", (packed.features * rows,), dtype),
    )


def _screen(packed: Packed, rows: int, space: Workspace) -> Screen:
    k, d, _, _ = packed.shape
    if not packed.is_screened:
        k = d = rows = 0
    wide = -(-d // WIDE) * WIDE
    return Screen(
        rows=space.array("coarse", (rows * wide,), np.float32),
        columns=space.array("coarse columns", (STRETCH * wide,), np.float32),
        far=space.array("far", (rows // STRETCH,)),
        faint=space.array("faint", (k,)),
        found=space.array("found", (VECTORS * LANES,)),
    )


class Totals(NamedTuple):
    """What a slab is added to, and what that takes."""

    counts: Array  # (k,)
    first: Array  # (k to a multiple of GROUP, and one; width)
    second: Array
    centre: Array  # of the frame, padded
    means: Array  # that sums are about, padded
    products: Array  # (k, P), as they leave the kernel
    shared: Array  # (P,), likewise
    crossed: Array  # (k to a multiple of GROUP, features, lanes), responsibilities times features


class Sums:
    """What the compiled kernel adds to, and how it is read."""

    def __init__(self, packed: Packed, space: Workspace) -> None:
        k, d, _, width = packed.shape
        size, triangle, groups = width * width, d * (d + 1) // 2, -(-k // GROUP) * GROUP
        by_triangles = packed.kind in TRIANGLES
        seconds = k * size if by_triangles else groups * width + (size if packed.kind in SHARING else 0)
        crossing = groups * packed.features * LANES
        lengths = {"counts": k, "first": (groups + 1) * width, "second": seconds, "crossed": crossing}
        counts, first, second, crossed = (space.array(name, (length,)) for name, length in lengths.items())
        for array in (counts, first, second, crossed):
            array[:] = 0
        self.packed = packed
        width_of_products = 1 + d + (triangle if by_triangles else d)
        self.products = np.empty((k, width_of_products))
        self.shared = np.zeros(1 + d + triangle)
        self.arrays = Totals(counts, first, second, packed.centre, packed.means, self.products, self.shared, crossed)

    def statistics(self, rows: int, log_likelihood: float, weight: float) -> MixtureStatistics:
        """Return the sums as statistics about the means, or, where one scatter is shared, about the frame's origin."""
        (k, d, _, _), form, products = self.packed.shape, self.packed.form, self.products
        counts, first, quadratic = products[:, :1], products[:, 1 : 1 + d], products[:, 1 + d :]
        shared: Array | None = None
        if form.covariance.is_shared:
            triangle = self.shared[1 + d :] if self.packed.kind in SHARING else quadratic.sum(axis=0)
            quadratic, shared = np.empty((k, 0)), symmetric(triangle, d)
        elif self.packed.kind in {UNIT, UNIT_EXPANDED}:
            quadratic = quadratic.sum(axis=1, keepdims=True)
        if quadratic.base is not products:
            products = np.concatenate([counts, first, quadratic], axis=1)
        reference = None if self.packed.kind in ABOUT_ORIGIN else form.means
        gathered = ProductStatistics(products, shared, form.frame.centre, reference)
        return MixtureStatistics(rows, weight, log_likelihood, counts[:, 0].copy(), gathered)
