"""How the compiled kernel gathers a tile's sums: responsibilities times moments, component by component."""

from __future__ import annotations

from typing import Any

import numba

from dask_em.kernel import moments, narrow, tile_moments
from dask_em.kernel.layout import (
    BYTES,
    CHUNK,
    DIAGONAL,
    DIAGONAL_EXPANDED,
    GROUP,
    LANES,
    SHARING,
    STRETCH,
    TRIANGLES,
    TRIANGULAR,
    TRIANGULAR_EXPANDED,
    UNIT,
    UNIT_EXPANDED,
    VECTORS,
)
from dask_em.kernel.moments import SET, dot, roots, shares
from dask_em.kernel.simd import HIGH, NATIVE, REGISTERS
from dask_em.kernel.tile_moments import crossed, weighed

__all__ = ["copied", "gather", "gather_all", "gather_crossed", "gather_narrow", "gather_shared", "write_sums"]

scaled1, scaled2, scaled4 = (moments.scaled[width] for width in (1, 2, 4))
outer1, outer2, outer3 = (moments.outer[width] for width in (1, 2, 3))
moments1, moments2, moments4 = (moments.moments[width] for width in (1, 2, 4))
narrow_products, narrow_squares = narrow.narrow[True], narrow.narrow[False]
ROOMY = REGISTERS >= 32  # for the sums of 4 components and several vectors of columns
inner = numba.njit(nogil=True)  # cached with the function that calls it


def _across(blocks: dict[int, Any], most: int) -> Any:
    """Return what takes all columns of a stretch of rows, for 4 components, up to ``most`` vectors at a time."""
    one, two, three = (blocks[width] for width in (1, 2, 3))

    @inner
    def across(
        x: Any, width: int, begin: int, n: int, joint: Any, at: int, stride: int, means: Any, i: int, sums: Any
    ) -> None:
        lanes, j, (first, second) = NATIVE // x.itemsize, 0, sums
        while j < width:
            left, of = (width - j) // lanes, i * width + j
            if most > 2 and (left == 3 or left > 4):
                three(x, width, begin, joint, at, stride, n, means, of, j, first, second)
                j += 3 * lanes
            elif most > 1 and left > 1:
                two(x, width, begin, joint, at, stride, n, means, of, j, first, second)
                j += 2 * lanes
            else:
                one(x, width, begin, joint, at, stride, n, means, of, j, first, second)
                j += lanes

    return across


deviations, squares = (_across(blocks, 3 if ROOMY else 1) for blocks in (tile_moments.deviations, tile_moments.squares))
firsts = _across(tile_moments.firsts, 3)


@inner
def copied(source: Any, begin: int, target: Any, at: int, n: int) -> None:
    """Copy n elements: for a slice, numba would compile its sentence on shapes too, which takes four seconds."""
    for i in range(n):
        target[at + i] = source[begin + i]


@inner
def _active(joint: Any, at: int, n: int, scale: Any, index: Any) -> int:
    """List the rows that a component has a share in; the first row fills the last 8."""
    m = 0
    for i in range(0, n, LANES):
        m += shares(joint, at + i, scale, i, SET, index, m)
    for i in range(m, m + LANES):
        index[i] = 0
    return m


@inner
def _scale(
    x: Any, width: int, index: Any, root: Any, at: int, count: int, means: Any, of: int, z: Any, first: Any
) -> None:
    """Write √r (x − μ) of the listed rows, and add Σ r (x − μ)."""
    lanes = NATIVE // x.itemsize
    j = 0
    while j < width:
        left = (width - j) // lanes
        if left >= 4:
            scaled4(x, width, index, root, at, count, means, of + j, j, z, first)
            j += 4 * lanes
        elif left >= 2:
            scaled2(x, width, index, root, at, count, means, of + j, j, z, first)
            j += 2 * lanes
        else:
            scaled1(x, width, index, root, at, count, means, of + j, j, z, first)
            j += lanes


@inner
def _square(z: Any, width: int, count: int, out: Any, at: int) -> None:
    """Add Σ z zᵀ, the upper triangle of blocks."""
    lanes = NATIVE // z.itemsize
    for i in range(0, width, HIGH):
        j = i // lanes * lanes
        while j < width:
            left = (width - j) // lanes
            place = at + i * width + j
            if left == 3 or left > 4:
                outer3(z, width, count, i, j, out, place, width)
                j += 3 * lanes
            elif left > 1:
                outer2(z, width, count, i, j, out, place, width)
                j += 2 * lanes
            else:
                outer1(z, width, count, i, j, out, place, width)
                j += lanes


@inner
def _listed(kind: int, n: int, width: int, room: Any, totals: Any, i: int, place: int) -> None:
    """Add Σ r (x − μ) at i and Σ r of its squares, or products, at ``place``, of the listed rows."""
    x, index, root, z = room.rows, room.listed, room.root, room.products
    means, first, second = totals.means, totals.first, totals.second
    if kind in TRIANGLES:
        for at in range(0, n, CHUNK):
            count = min(CHUNK, -(-(n - at) // 4) * 4)
            _scale(x, width, index, root, at, count, means, i, z, first)
            _square(z, width, count, second, place)
        return
    lanes, j, n = NATIVE // x.itemsize, 0, -(-n // 4) * 4
    while j < width:
        left = (width - j) // lanes
        if left >= 4:
            moments4(x, width, index, root, n, means, i + j, j, first, second)
            j += 4 * lanes
        elif left >= 2:
            moments2(x, width, index, root, n, means, i + j, j, first, second)
            j += 2 * lanes
        else:
            moments1(x, width, index, root, n, means, i + j, j, first, second)
            j += lanes


@inner
def gather_narrow(kind: int, n: int, shape: Any, room: Any, totals: Any) -> None:
    """Gather a tile of few columns from all rows: a list of rows costs more than the rows."""
    k, d, _, width = shape
    columns, joint, scale, moved = room.columns, room.joint, room.scale, room.moved
    counts, means, first, second = totals.counts, totals.means, totals.first, totals.second
    stride = len(scale)
    for i in range(k):
        at, of = i * stride, i * width
        if kind == TRIANGULAR:
            counts[i] += narrow_products(
                columns, d, joint, at, scale, n, means, of, moved, first, second, of * width, width
            )
        else:
            counts[i] += narrow_squares(columns, d, joint, at, scale, n, means, of, moved, first, second, of, width)
    if kind in SHARING:
        of = -(-k // GROUP) * GROUP * width
        narrow_products(columns, d, room.weight, 0, room.ones, n, means, of, moved, first, second, of, width)


@inner
def gather(kind: int, n: int, shape: Any, room: Any, totals: Any) -> None:
    """Gather a tile, component by component, from the rows that each has a share in."""
    k, _, _, width = shape
    joint, scale, index = room.joint, room.scale, room.listed
    stride = len(scale)
    for i in range(k):
        m = _active(joint, i * stride, n, scale, index)
        totals.counts[i] += roots(joint, i * stride, scale, index, m, room.root, kind not in TRIANGLES)
        _listed(kind, m, width, room, totals, i * width, i * width * width)


@inner
def gather_all(kind: int, n: int, shape: Any, room: Any, totals: Any) -> None:
    """Gather a tile from all rows: where most have a share in most components, lists of rows cost more.

    A stretch of rows, and what 4 components have of it, stay in the L1 cache.
    """
    k, _, _, width = shape
    x, joint, scale, means = room.rows, room.joint, room.scale, totals.means
    stride, sums = len(scale), (totals.first, totals.second)
    for begin in range(0, n, STRETCH):
        rows = min(STRETCH, n - begin)
        here_lengths = room.lengths[begin : begin + rows]
        for i in range(0, k, GROUP):
            at = i * stride + begin
            for of in range(i, min(i + GROUP, k)):
                here = of * stride + begin
                totals.counts[of] += weighed(joint, here, scale, begin, rows)
                if kind == UNIT_EXPANDED:
                    totals.second[of * width] += dot(joint[here : here + rows], here_lengths, rows)
            if kind in (DIAGONAL, UNIT):
                deviations(x, width, begin, rows, joint, at, stride, means, i, sums)
            elif kind == DIAGONAL_EXPANDED:
                squares(x, width, begin, rows, joint, at, stride, means, i, sums)
            else:
                firsts(x, width, begin, rows, joint, at, stride, means, i, sums)


@inner
def gather_crossed(n: int, shape: Any, room: Any, totals: Any) -> None:
    """Gather a tile from the features of all rows, about the frame's origin."""
    k = shape[0]
    joint, scale, stride = room.joint, room.scale, len(room.scale)
    every, block, begin = len(room.features) // stride, VECTORS * BYTES // room.features.itemsize, numba.int64(0)
    for i in range(k):
        totals.counts[i] += weighed(joint, i * stride, scale, begin, n)
    for at in range(0, n, block):
        crossed(room.features, at * every, every, joint, at, stride, -(-k // GROUP), totals.crossed)


@inner
def gather_shared(n: int, shape: Any, room: Any, totals: Any) -> None:
    """Gather the scatter that all components share, about the frame's origin."""
    width, row = shape[3], -(-shape[0] // GROUP) * GROUP
    begin, kind = numba.int64(0), numba.int64(TRIANGULAR)  # a literal would be a type of its own, to compile for
    m = _active(room.weight, begin, n, room.ones, room.listed)
    roots(room.weight, 0, room.ones, room.listed, m, room.root, False)
    _listed(kind, m, width, room, totals, row * width, row * width)


@inner
def write_sums(kind: int, shape: Any, totals: Any) -> None:
    """Write sums as rows [Σ r, Σ r y, Σ r y yᵀ], or with squares, and what is shared likewise."""
    k, d, _, width = shape
    first, second, products = totals.first, totals.second, totals.products
    last = -(-k // GROUP) * GROUP
    for i in range(k):
        products[i, 0] = totals.counts[i]
        copied(first, i * width, products[i], 1, d)
        if kind in TRIANGLES:
            _write_triangle(second, i * width * width, width, d, products[i])
            if kind == TRIANGULAR_EXPANDED:
                _add_crossed(totals.crossed, i * (len(totals.crossed) // (last * LANES)), products[i])
        else:
            copied(second, i * width, products[i], 1 + d, products.shape[1] - 1 - d)
    if kind in SHARING:
        _write_triangle(second, last * width, width, d, totals.shared)


@inner
def _write_triangle(second: Any, begin: int, width: int, d: int, row: Any) -> None:
    at = 1 + d
    for j in range(d):
        copied(second, begin + j * width + j, row, at, d - j)
        at += d - j


@inner
def _add_crossed(sums: Any, first: int, row: Any) -> None:
    """Add a component's sums, from a vector on: each lane has its part."""
    lanes = NATIVE // 8
    for j in range(1, len(row)):
        for lane in range(lanes):
            row[j] += sums[(first + j - 1) * lanes + lane]
