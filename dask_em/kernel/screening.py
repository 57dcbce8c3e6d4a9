"""What float32 can say of components that a row is hardly in, in half the time of float64.

Where components lie apart, most densities are of rows that a component has next to no share in. float32's error has a
bound, so that it is certain which shares are below 1e-17, and zero, and which are so small that float32's own density
gives them to 1e-14 of the row. The others are computed in float64, with the bits that they would have without.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dask_em.kernel import densities
from dask_em.kernel.densities import LEAST, NEGLIGIBLE, whitened
from dask_em.kernel.layout import BYTES, FAINT, GROUP, LANES, STRETCH, VECTORS, WIDE
from dask_em.kernel.moments import SET, dot, sifted

__all__ = ["screen"]

turned, turned_listed = densities.turned[False], densities.turned[True]
BELOW = NEGLIGIBLE - 0.01  # of the largest log-density: rounding of the bounds is far less
NEAREST, FARTHEST = 14.0, 20.0  # |z| where bounds are closest, near 1e-17; beyond which float32's density is not taken
BEYOND = 1e15  # of an error: float32 may have no room for the square
inner = numba.njit(nogil=True)  # cached with the function that calls it


@inner
def _trusted(n: int, exact: bool, shape: Any, coarse: Any, tile: Any) -> None:
    """Fill the largest |x| of each stretch, and for each component below which share of a row float32 is right enough.

    Nothing is left to float32 where all is to be ``exact``.
    """
    k, d, _, _ = shape
    rows, far, faint = tile.rows, tile.far, tile.faint
    wide, farthest = -(-d // WIDE) * WIDE, 0.0
    for first in range(0, n, STRETCH):
        square = 0.0
        for a in range(first, first + STRETCH):
            here = rows[a * wide : (a + 1) * wide]
            square = max(square, dot(here, here, wide))
        far[first // STRETCH] = (1 + 1e-4) * np.sqrt(square)  # the sum is float32's
        farthest = max(farthest, far[first // STRETCH])
    for i in range(k):
        off = coarse.reach[i] * (farthest + coarse.norms[i])
        error = off * (FARTHEST + off) + FARTHEST * FARTHEST * (d + 4) * 2.0**-24  # of z, and of the sum of its squares
        faint[i] = 0.0 if exact else min(FAINT, coarse.wrong[i] / error)


@inner
def screen(begin: int, n: int, exact: bool, shape: Any, model: Any, room: Any) -> None:
    """Fill log π_k p_k(x), (k, stride), of rows from ``begin`` to n; what is negligible is the least there is.

    The rows, from the first on, stand in float32 already. Where all is to be ``exact``, no density is left to that.
    """
    constant, shift, triangle, coarse, tile = model.constant, model.shift, model.triangle, model.coarse, room.screen
    _trusted(n, exact, shape, coarse, tile)
    for first in range(begin, n, STRETCH):
        _bound(first, shape, constant, coarse, room)
    k, d, padded, width = shape
    x, joint, columns, most, index, found = room.rows, room.joint, room.columns, room.density, room.listed, tile.found
    stride, lanes, size = len(room.scale), BYTES // x.itemsize, padded * (padded + GROUP) // 2
    rows = VECTORS * lanes
    for i in range(k):
        at, m = i * stride, 0
        below, beyond = np.log(tile.faint[i]), constant[i] - 0.5 * FARTHEST * FARTHEST
        for first in range(begin, n, STRETCH):
            part, _, largest = _bounds(i, tile.far[first // STRETCH], d, constant, coarse)
            for a in range(first, first + STRETCH, LANES):
                m += sifted(joint, at + a, most, a, 1 - part, largest, BELOW, below, beyond, LEAST, SET, index, m)
        for a in range(m, -(-m // rows) * rows):
            index[a] = 0
        for a in range(0, m, rows):
            for j in range(0, width, lanes):
                turned_listed(x, width, index, a, j, columns)
            count = min(rows, m - a)
            whitened(columns, shift, i * padded, triangle, i * size, padded, constant[i], found, 0, count)
            for b in range(count):
                joint[at + index[a + b]] = found[b]


@inner
def _bounds(i: int, far: float, d: int, constant: Any, coarse: Any) -> tuple[float, float, float]:
    """Return η and what bounds a log-density: v (1 + η) − least and v (1 − η) + largest, v being float32's.

    With |fl(z) − z| ≤ δ and any η in (0, 1): |z|² is at least (1 − η) |fl(z)|² − δ²/η, and at most
    (1 + η) |fl(z)|² + δ² (1 + 1/η).
    """
    off = coarse.reach[i] * (far + coarse.norms[i])
    if not off < BEYOND:
        return 0.5, np.inf, np.inf
    part = min(max(off / NEAREST, 1e-4 + 3e-7 * d), 0.5)  # the least is for the rounding of |fl(z)|² itself
    above, below = 0.5 * off * off / part, 0.5 * off * off * (1 + 1 / part)
    return part, constant[i] * part + below, constant[i] * part + above


@inner
def _bound(first: int, shape: Any, constant: Any, coarse: Any, room: Any) -> None:
    """Fill float32's log π_k p_k(x) for a stretch of rows, and in ``density`` what the largest is at least."""
    k, d, padded, _ = shape
    joint, tile = room.joint, room.screen
    stride, wide, size = len(room.scale), -(-d // WIDE) * WIDE, padded * (padded + GROUP) // 2
    for j in range(0, wide, WIDE):
        turned(tile.rows, wide, room.listed, first, j, tile.columns)
    most = room.density[first : first + STRETCH]
    most[:] = -np.inf
    for i in range(k):
        at = i * stride + first
        mean, factor = i * padded, i * size
        whitened(tile.columns, coarse.means, mean, coarse.triangles, factor, padded, constant[i], joint, at, STRETCH)
        value = joint[at : at + STRETCH]
        part, least, _ = _bounds(i, tile.far[first // STRETCH], d, constant, coarse)
        for a in range(STRETCH):
            low = value[a] * (1 + part) - least
            most[a] = low if low > most[a] else most[a]  # noqa: FURB136  # NaN is to lose
