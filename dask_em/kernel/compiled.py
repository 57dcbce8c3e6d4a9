"""The tile loop compiled by numba, without the GIL: Gaussian components about their own means, any covariance.

For each tile: rows centred; log π_k p_k(x) block by block; softmax in place; then component by component the rows that
it has a share in. Nothing but the statistics leaves a tile. What the CPU does stands in
:mod:`~dask_em.kernel.densities` and :mod:`~dask_em.kernel.moments`.

Every y = x − μ_k is formed before it is multiplied, so no digits are lost to a distant centre, in densities or in sums.
"""

from __future__ import annotations

from typing import Any

import numba

from dask_em.kernel import densities, moments
from dask_em.kernel.densities import entered, mapped, softmax, turned, whitened
from dask_em.kernel.layout import BYTES, CHUNK, DIAGONAL, GROUP, LANES, SHARED, TRIANGULAR, VECTORS
from dask_em.kernel.moments import dot, roots, shares

__all__ = ["evaluate", "summarize"]

distances_by_column, distances_by_component = densities.distances[True], densities.distances[False]
scaled1, scaled2, scaled4 = (moments.scaled[width] for width in (1, 2, 4))
outer1, outer2, outer3 = (moments.outer[width] for width in (1, 2, 3))
moments1, moments2, moments4 = (moments.moments[width] for width in (1, 2, 4))
narrow_products, narrow_squares = moments.narrow[True], moments.narrow[False]
compiled = numba.njit(nogil=True, cache=True)


@compiled
def _enter(values: Any, centre: Any, start: int, n: int, width: int, x: Any) -> int:
    """Centre rows, (n, width) with zeros beyond d; fill the last block with zeros and return how many there are."""
    d, size = values.shape[1], len(values)
    beyond = -(-(width - d) // d)  # the last rows, whose vectors would reach beyond the array
    safe = max(min(n, size - start - beyond), 0)
    entered(x, width, values.ravel(), start * d, safe, d, centre)
    for i in range(safe, n):
        for j in range(d):
            x[i * width + j] = values[start + i, j] - centre[j]
        x[i * width + d : (i + 1) * width] = 0
    rows = VECTORS * BYTES // x.itemsize
    whole = -(-n // rows) * rows
    x[n * width : whole * width] = 0
    return whole


@compiled
def _densities(kind: int, x: Any, n: int, shape: Any, model: Any, space: Any, joint: Any, stride: int) -> None:
    """Fill log π_k p_k(x), (k, stride), for n rows, a whole number of blocks."""
    k, d, padded, width = shape
    constant, shift, scale, triangle, zeros = model
    columns, z = space
    narrow = d <= LANES and x.itemsize == BYTES // LANES
    lanes = BYTES // x.itemsize
    rows = VECTORS * lanes
    size = padded * (padded + GROUP) // 2
    for first in range(0, n, rows):
        here = columns[first * width if narrow else 0 :]
        for j in range(0, width, lanes):
            turned(x, width, first, j, here)
        if kind == TRIANGULAR:
            for i in range(k):
                whitened(here, shift, i * padded, triangle, i * size, padded, constant[i], joint, i * stride + first)
            continue
        for i in range(k):
            joint[i * stride + first : i * stride + first + rows] = constant[i]
        if kind == SHARED:
            mapped(here, zeros, triangle, padded, z)
        for i in range(0, k, GROUP):
            at = i * stride + first
            if kind == DIAGONAL:
                distances_by_column(here, shift, i * d, scale, i * d, d, joint, at, stride)
            elif kind == SHARED:
                distances_by_component(z, shift, i * d, scale, i, d, joint, at, stride)
            else:
                distances_by_component(here, shift, i * d, scale, i, d, joint, at, stride)


@compiled
def _active(joint: Any, at: int, n: int, scale: Any, index: Any, weight: Any) -> int:
    """List the rows that a component has a share in, and their weighted responsibilities; zeros fill the last 8."""
    m = 0
    for i in range(0, n, 8):
        bits = shares(joint, at + i, scale, i, weight, index, m)
        if bits == 255:
            m += 8
        elif bits:
            begin = m
            for lane in range(8):  # without a branch, which would often be foretold wrongly
                index[m] = i + lane
                weight[m] = weight[begin + lane]
                m += bits >> lane & 1
    for i in range(m, -(-m // 8) * 8):
        index[i] = 0
        weight[i] = 0.0
    return m


@compiled
def _scale(
    x: Any, width: int, index: Any, root: Any, at: int, count: int, means: Any, of: int, z: Any, first: Any
) -> None:
    """Write √r (x − μ) of the listed rows, and add Σ r (x − μ)."""
    lanes = BYTES // x.itemsize
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


@compiled
def _square(z: Any, width: int, count: int, out: Any, at: int) -> None:
    """Add Σ z zᵀ, the upper triangle of blocks."""
    lanes = BYTES // z.itemsize
    for i in range(0, width, 8):
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


@compiled
def _listed(kind: int, x: Any, n: int, width: int, listed: Any, z: Any, sums: Any, of: tuple[int, int]) -> None:
    """Add Σ r (x − μ) and Σ r of its squares, or products, of the listed rows."""
    index, root, means = listed
    first, second = sums
    i, place = of
    if kind == TRIANGULAR:
        for at in range(0, n, CHUNK):
            count = min(CHUNK, -(-(n - at) // 4) * 4)
            _scale(x, width, index, root, at, count, means, i, z, first)
            _square(z, width, count, second, place)
        return
    lanes, j, n = BYTES // x.itemsize, 0, -(-n // 4) * 4
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


@compiled
def _gather_narrow(kind: int, n: int, shape: Any, space: Any, means: Any, products: Any, shared: Any) -> None:
    """Gather a tile of few columns, where a list of rows costs more than the rows."""
    k, d, _, width = shape
    columns, joint, scale, weight, ones = space
    stride, blocks = len(scale), n // (VECTORS * LANES)
    xs = width * VECTORS * LANES
    for i in range(k):
        if kind == TRIANGULAR:
            narrow_products(d, columns, xs, joint, i * stride, scale, blocks, means, i * width, products[i])
        else:
            narrow_squares(d, columns, xs, joint, i * stride, scale, blocks, means, i * width, products[i])
    if kind == SHARED:
        narrow_products(d, columns, xs, weight, 0, ones, blocks, means, k * width, shared)


@compiled
def _gather(kind: int, x: Any, n: int, shape: Any, space: Any, means: Any, sums: Any) -> None:
    """Gather a tile, component by component, from the rows that each has a share in."""
    k, _, _, width = shape
    joint, scale, weight, ones, index, share, root, z = space
    counts, first, second = sums
    stride = len(scale)
    for i in range(k):
        m = _active(joint, i * stride, n, scale, index, share)
        counts[i] += roots(share, -(-m // 8) * 8, root, kind != TRIANGULAR)
        _listed(kind, x, m, width, (index, root, means), z, (first, second), (i * width, i * width * width))
    if kind == SHARED:  # the scatter that all components share, about the frame's origin
        m = _active(weight, 0, n, ones, index, share)
        roots(share, -(-m // 8) * 8, root, False)
        _listed(TRIANGULAR, x, m, width, (index, root, means), z, (first, second), (k * width, k * width))


@compiled
def summarize(kind: int, values: Any, weight: Any, shape: Any, model: Any, space: Any, sums: Any) -> float:
    """Add the statistics of rows to ``sums``, tile by tile, and return Σ w log p(x)."""
    k, d, _, width = shape
    x, joint, turn, scale, tile_weight, density, ones, index, share, root, z = space
    counts, first, second, centre, means, products, shared = sums
    stride = len(scale)
    ones[:] = 1.0
    total = 0.0
    for start in range(0, len(values), stride):
        n = min(stride, len(values) - start)
        whole = _enter(values, centre, start, n, width, x)
        tile_weight[:n] = weight[start : start + n]
        tile_weight[n:whole] = 0
        _densities(kind, x, whole, shape, model, turn, joint, stride)
        for i in range(0, whole, 8):
            softmax(joint, i, stride, k, tile_weight, scale, density, i)
        total += dot(tile_weight, density, whole)
        if d <= LANES and x.itemsize == BYTES // LANES:
            _gather_narrow(kind, whole, shape, (turn[0], joint, scale, tile_weight, ones), means, products, shared)
        else:
            room = (joint, scale, tile_weight, ones, index, share, root, z)
            _gather(kind, x, whole, shape, room, means, (counts, first, second))
    if d > LANES or x.itemsize < BYTES // LANES:
        _write(kind, shape, counts, first, second, products, shared)
    return total


@compiled
def _write(kind: int, shape: Any, counts: Any, first: Any, second: Any, products: Any, shared: Any) -> None:
    """Write sums as rows [Σ r, Σ r y, Σ r y yᵀ], or with squares, and what is shared likewise."""
    k, d, _, width = shape
    for i in range(k + (kind == SHARED)):
        row = products[i] if i < k else shared
        row[0] = counts[i]
        row[1 : 1 + d] = first[i * width : i * width + d]
        if kind == TRIANGULAR or i == k:
            at = 1 + d
            begin = i * width * width if i < k else k * width
            for j in range(d):
                row[at : at + d - j] = second[begin + j * width + j : begin + j * width + d]
                at += d - j
        else:
            row[1 + d :] = second[i * width : i * width + d]


@compiled
def evaluate(kind: int, values: Any, shape: Any, model: Any, space: Any, centre: Any, out: Any) -> None:
    """Write log p(x), (n,), and, where room is given, the responsibilities, (n, k)."""
    k, width = shape[0], shape[3]
    x, joint, turn, scale, tile_weight, density, _, _, _, _, _ = space
    density_out, resp = out
    stride = len(scale)
    tile_weight[:] = 1.0
    for start in range(0, len(values), stride):
        n = min(stride, len(values) - start)
        whole = _enter(values, centre, start, n, width, x)
        _densities(kind, x, whole, shape, model, turn, joint, stride)
        for i in range(0, whole, 8):
            softmax(joint, i, stride, k, tile_weight, scale, density, i)
        density_out[start : start + n] = density[:n]
        if resp.size:
            for j in range(n):
                for i in range(k):
                    resp[start + j, i] = joint[i * stride + j] * scale[j]
