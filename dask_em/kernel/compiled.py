"""The tile loop compiled by numba, without the GIL: Gaussian components with any covariance.

For each tile: rows centred; log π_k p_k(x) block by block; softmax in place; then component by component the rows that
it has a share in. Nothing but the statistics leaves a tile. What the CPU does stands in
:mod:`~dask_em.kernel.densities`, :mod:`~dask_em.kernel.expanded` and :mod:`~dask_em.kernel.moments`.

Every y = x − μ_k is formed before it is multiplied, so no digits are lost to a distant centre, in densities or in sums;
but for kinds that are expanded about the frame's origin, which only accurate forms are.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numba

from dask_em.kernel import densities
from dask_em.kernel.densities import entered, mapped, softmax, whitened
from dask_em.kernel.expanded import affine, features, lengths, linear, quadratic
from dask_em.kernel.gathering import (
    copied,
    gather,
    gather_all,
    gather_crossed,
    gather_narrow,
    gather_shared,
    write_sums,
)
from dask_em.kernel.layout import (
    BYTES,
    DIAGONAL,
    DIAGONAL_EXPANDED,
    EXPANDED,
    GROUP,
    LANES,
    SHARED,
    SHARED_EXPANDED,
    SHARING,
    STRETCH,
    TRIANGULAR,
    TRIANGULAR_EXPANDED,
    VECTORS,
    WIDE,
)
from dask_em.kernel.moments import dot
from dask_em.kernel.narrow import columns_entered, whitened_narrow
from dask_em.kernel.screening import screen

__all__ = ["SOURCES", "evaluate", "summarize"]

turned = densities.turned[False]
distances_by_column, distances_by_component = densities.distances[True], densities.distances[False]
TOGETHER = densities.SIDE_BY_SIDE * LANES  # rows whose softmax is taken at once
BLOCKS = 4  # of few columns at a time: to begin costs as much as the block
CROWDED = 0.5  # of a tile's responsibilities: beyond, all rows are taken where that is cheap
SPARSE = 0.65  # of the last tile's: below, float32 tells first which are not zero
inner = numba.njit(nogil=True)  # cached with the function that calls it
inlined = numba.njit(nogil=True, inline="always")  # LLVM optimises what is not anew at each level: twice the seconds


@inner
def _enter(values: Any, centre: Any, start: int, n: int, width: int, x: Any, unit: int) -> int:
    """Centre rows, (n, width) with zeros beyond d; fill the last unit with zeros and return how many there are."""
    d, size = values.shape[1], len(values)
    beyond = -(-(width - d) // d)  # the last rows, whose vectors would reach beyond the array
    safe = max(min(n, size - start - beyond), 0)
    entered(x, width, values.ravel(), start * d, safe, d, centre)
    for i in range(safe, n):
        for j in range(d):
            x[i * width + j] = values[start + i, j] - centre[j]
        x[i * width + d : (i + 1) * width] = 0
    whole = -(-n // unit) * unit
    x[n * width : whole * width] = 0
    return whole


@inner
def _enter_columns(values: Any, centre: Any, start: int, n: int, x: Any, unit: int) -> int:
    """Centre rows of few columns as blocks of columns, (8, unit); fill the last, and return how many rows there are."""
    d, size = values.shape[1], len(values)
    beyond = -(-(WIDE - d) // d)  # the last rows, whose vectors would reach beyond the array
    safe = max(min(n, size - start - beyond), 0) // WIDE * WIDE
    columns_entered(x, values.ravel(), start * d, safe, d, centre)
    whole = -(-n // unit) * unit
    for i in range(safe, whole):
        at = i // unit * unit * LANES + i % unit
        for j in range(-(-d // GROUP) * GROUP):
            x[at + j * unit] = values[start + i, j] - centre[j] if i < n and j < d else 0.0
    return whole


@inlined
def _densities_whitened(columns: Any, first: int, n: int, shape: Any, model: Any, joint: Any, stride: int) -> None:
    k, d, padded, _ = shape
    shift, triangle = model.shift, model.triangle
    rows, size = VECTORS * BYTES // columns.itemsize, padded * (padded + GROUP) // 2
    for i in range(k):
        mean, factor, at = i * padded, i * size, i * stride + first
        if d <= LANES:
            whitened_narrow(columns, d, n, shift, mean, triangle, factor, model.constant[i], joint, at)
        else:
            whitened(columns, shift, mean, triangle, factor, padded, model.constant[i], joint, at, rows)


@inlined
def _densities_by_distance(
    kind: int, columns: Any, z: Any, first: int, shape: Any, model: Any, joint: Any, stride: int
) -> None:
    k, d, padded, _ = shape
    shift, scale = model.shift, model.scale
    rows = VECTORS * BYTES // columns.itemsize
    for i in range(k):
        joint[i * stride + first : i * stride + first + rows] = model.constant[i]
    if kind == SHARED:
        mapped(columns, model.triangle, padded, z)
    for i in range(0, k, GROUP):
        at = i * stride + first
        if kind == DIAGONAL:
            distances_by_column(columns, shift, i * d, scale, i * d, d, joint, at, stride)
        else:
            x = z if kind == SHARED else columns
            distances_by_component(x, shift, i * d, scale, i, d, joint, at, stride)


@inlined
def _densities_expanded(
    kind: int, columns: Any, z: Any, first: int, shape: Any, model: Any, joint: Any, length: Any
) -> None:
    k, d, padded, _ = shape
    constant, slope, bend = model.constant, model.shift, model.scale
    stride = len(length)
    if kind == TRIANGULAR_EXPANDED:
        at = first * (len(z) // stride)
        features(columns, d, z, at)
        affine(z, at, d * (d + 3) // 2, slope, constant, -(-k // GROUP), joint, first, stride)
        return
    if kind == DIAGONAL_EXPANDED:
        for i in range(0, k, GROUP):
            at = i * stride + first
            quadratic(columns, slope, i * d, bend, i * d, d, constant, i, length, first, joint, at, stride)
        return
    if kind == SHARED_EXPANDED:
        mapped(columns, model.triangle, padded, z)
    x = z if kind == SHARED_EXPANDED else columns
    lengths(x, d, length, first)
    for i in range(0, k, GROUP):
        linear(x, slope, i * d, bend, i, d, constant, i, length, first, joint, i * stride + first, stride)


@inner
def _densities(
    kind: int, columns: Any, z: Any, first: int, n: int, shape: Any, model: Any, joint: Any, length: Any
) -> None:
    """Fill log π_k p_k(x), (k, stride), for n rows from ``first`` on: one block, or some of few columns."""
    if kind == TRIANGULAR:
        _densities_whitened(columns, first, n, shape, model, joint, len(length))
    elif kind in EXPANDED:
        _densities_expanded(kind, columns, z, first, shape, model, joint, length)
    else:
        _densities_by_distance(kind, columns, z, first, shape, model, joint, len(length))


@inlined
def _share_out(kind: int, begin: int, n: int, known: bool, shape: Any, model: Any, room: Any) -> int:
    """Fill responsibilities but for their scale, (k, stride), the scale and log p(x), for rows of whole blocks.

    Each block, or some of few columns, is done with while it is in the L1 cache, unless log π_k p_k(x) are known
    already. Return how many shares are not zero.
    """
    k, d, _, width = shape
    x, joint, columns, scale = room.rows, room.joint, room.columns, room.scale
    stride, lanes, shares = len(scale), BYTES // x.itemsize, 0
    rows = VECTORS * lanes * (BLOCKS if kind == TRIANGULAR and d <= LANES else 1)
    for first in range(begin, n, rows):
        end = min(first + rows, n)
        if not known:
            here = columns[first * LANES if d <= LANES else 0 :]
            if d > LANES:
                for j in range(0, width, lanes):
                    turned(x, width, room.listed, first, j, here)
            space = room.features if kind == TRIANGULAR_EXPANDED else room.mapped
            _densities(kind, here, space, first, end - first, shape, model, joint, room.lengths)
        for i in range(first, end, TOGETHER):
            shares += softmax(joint, i, stride, k, room.weight, scale, room.density, i)
    return shares


@inlined
def _tile(
    kind: int, values: Any, start: int, share: float, exact: bool, shape: Any, model: Any, room: Any, centre: Any
) -> tuple[int, float]:
    """Share out the rows of a tile; ``share`` is the part of them that was not zero so far, or 1.

    Where all is to be ``exact``, a row's bits do not depend on the rows beside it. Return how many rows there are,
    padded, and that part of these rows.
    """
    (k, d, _, width), x = shape, room.rows
    n, screened = min(len(room.scale), len(values) - start), len(model.coarse.means) > 0
    unit = STRETCH if screened else VECTORS * BYTES // x.itemsize
    if d <= LANES:
        whole = _enter_columns(values, centre, start, n, room.columns, unit)
    else:
        whole = _enter(values, centre, start, n, width, x, unit)
    begin, shares = numba.int64(0), 0  # a literal would be a type of its own, and functions compiled once more for it
    end = unit if screened and start == 0 else whole  # the first rows tell whether components lie apart
    while begin < whole:
        known = screened and share < SPARSE
        if known:  # once a tile at most
            _enter(values, centre, start, n, -(-d // WIDE) * WIDE, room.screen.rows, unit)
            screen(begin, end, exact, shape, model, room)
        shares += _share_out(kind, begin, end, known, shape, model, room)
        share, begin, end = shares / (end * k), end, whole
    return whole, share


@inlined
def _summarize(
    kind: int, values: Any, weight: Any, shape: Any, model: Any, room: Any, totals: Any
) -> tuple[float, float]:
    """Add the statistics of rows to ``totals``, tile by tile, and return Σ w log p(x) and Σ w."""
    d, stride, tile_weight = shape[1], len(room.scale), room.weight
    room.ones[:] = 1.0
    total, seen, share = 0.0, 0.0, 1.0
    for start in range(0, len(values), stride):
        n = min(stride, len(values) - start)
        copied(weight, start, tile_weight, 0, n)
        tile_weight[n:] = 0
        whole, share = _tile(kind, values, start, share, False, shape, model, room, totals.centre)
        total += dot(tile_weight, room.density, whole)
        seen += dot(tile_weight, room.ones, whole)
        if d <= LANES:
            gather_narrow(kind, whole, shape, room, totals)
            continue
        if kind == TRIANGULAR or share <= CROWDED:
            gather(kind, whole, shape, room, totals)
        elif kind == TRIANGULAR_EXPANDED:
            gather_crossed(whole, shape, room, totals)
        else:
            gather_all(kind, whole, shape, room, totals)
        if kind in SHARING:
            gather_shared(whole, shape, room, totals)
    write_sums(kind, shape, totals)
    return total, seen


@inlined
def _evaluate(kind: int, values: Any, shape: Any, model: Any, room: Any, centre: Any, out: Any) -> None:
    """Write log p(x), (n,), and, where room is given, the responsibilities, (n, k)."""
    k, joint, scale = shape[0], room.joint, room.scale
    density, resp = out
    stride, share = len(scale), 1.0
    room.weight[:] = 1.0
    for start in range(0, len(values), stride):
        n = min(stride, len(values) - start)
        _, share = _tile(kind, values, start, share, True, shape, model, room, centre)
        copied(room.density, 0, density, start, n)
        if resp.size:
            for j in range(n):
                for i in range(k):
                    resp[start + j, i] = joint[i * stride + j] * scale[j]


def _entry_points(sources: int, cache: bool) -> tuple[Any, Any]:
    """Return the functions that are called from outside.

    numba looks at one file to see whether what it kept is stale; the sources' digest in a closure is part of its key.
    """

    @numba.njit(nogil=True, cache=cache)
    def summarize(kind: int, values: Any, weight: Any, shape: Any, model: Any, room: Any, totals: Any) -> Any:
        total, seen = _summarize(kind, values, weight, shape, model, room, totals)
        return total + 0.0 * sources, seen

    @numba.njit(nogil=True, cache=cache)
    def evaluate(kind: int, values: Any, shape: Any, model: Any, room: Any, centre: Any, out: Any) -> int:
        _evaluate(kind, values, shape, model, room, centre, out)
        return sources

    return summarize, evaluate


def _digest_of_sources() -> int:
    """Return a number that changes with any file of the kernel."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return int.from_bytes(digest.digest()[:4], "big")


SOURCES = _digest_of_sources()
try:
    summarize, evaluate = _entry_points(SOURCES, cache=True)
except RuntimeError:  # neither beside this file nor in the user's cache can anything be written
    summarize, evaluate = _entry_points(SOURCES, cache=False)
