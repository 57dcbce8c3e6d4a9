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
def _trusted(n: int, exact: bool, shape: Any, model: Any, space: Any) -> None:
    """Fill the largest |x| of each stretch, and for each component below which share of a row float32 is right enough.

    Nothing is left to float32 where all is to be ``exact``.
    """
    k, d, _, _ = shape
    reach, length, wrong = model[4][2:]
    coarse, _, far, faint, _ = space[10]
    wide, farthest = -(-d // WIDE) * WIDE, 0.0
    for first in range(0, n, STRETCH):
        square = 0.0
        for a in range(first, first + STRETCH):
            here = coarse[a * wide : (a + 1) * wide]
            square = max(square, dot(here, here, wide))
        far[first // STRETCH] = (1 + 1e-4) * np.sqrt(square)  # the sum is float32's
        farthest = max(farthest, far[first // STRETCH])
    for i in range(k):
        off = reach[i] * (farthest + length[i])
        error = off * (FARTHEST + off) + FARTHEST * FARTHEST * (d + 4) * 2.0**-24  # of z, and of the sum of its squares
        faint[i] = 0.0 if exact else min(FAINT, wrong[i] / error)


@inner
def screen(begin: int, n: int, exact: bool, shape: Any, model: Any, space: Any) -> None:
    """Fill log π_k p_k(x), (k, stride), of rows from ``begin`` to n; what is negligible is the least there is.

    The rows, from the first on, stand in float32 already. Where all is to be ``exact``, no density is left to that.
    """
    _trusted(n, exact, shape, model, space)
    for first in range(begin, n, STRETCH):
        _bound(first, shape, model, space)
    k, d, padded, width = shape
    constant, shift, _, triangle, coarse = model
    x, joint, (columns, _), scale, _, most, _, index, _, _, (_, _, far, faint, found), _, _ = space
    stride, lanes, size = len(scale), BYTES // x.itemsize, padded * (padded + GROUP) // 2
    rows = VECTORS * lanes
    for i in range(k):
        at, m = i * stride, 0
        below, beyond = np.log(faint[i]), constant[i] - 0.5 * FARTHEST * FARTHEST
        for first in range(begin, n, STRETCH):
            part, _, largest = _bounds(i, far[first // STRETCH], d, constant, coarse)
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
    off = coarse[2][i] * (far + coarse[3][i])
    if not off < BEYOND:
        return 0.5, np.inf, np.inf
    part = min(max(off / NEAREST, 1e-4 + 3e-7 * d), 0.5)  # the least is for the rounding of |fl(z)|² itself
    above, below = 0.5 * off * off / part, 0.5 * off * off * (1 + 1 / part)
    return part, constant[i] * part + below, constant[i] * part + above


@inner
def _bound(first: int, shape: Any, model: Any, space: Any) -> None:
    """Fill float32's log π_k p_k(x) for a stretch of rows, and in ``density`` what the largest is at least."""
    k, d, padded, _ = shape
    constant, (shift, triangle, _, _, _) = model[0], model[4]
    joint, scale, density, index, (coarse, columns, far, _, _) = space[1], space[3], space[5], space[7], space[10]
    stride, wide, size = len(scale), -(-d // WIDE) * WIDE, padded * (padded + GROUP) // 2
    for j in range(0, wide, WIDE):
        turned(coarse, wide, index, first, j, columns)
    most = density[first : first + STRETCH]
    most[:] = -np.inf
    for i in range(k):
        at = i * stride + first
        whitened(columns, shift, i * padded, triangle, i * size, padded, constant[i], joint, at, STRETCH)
        value = joint[at : at + STRETCH]
        part, least, _ = _bounds(i, far[first // STRETCH], d, constant, model[4])
        for a in range(STRETCH):
            low = value[a] * (1 + part) - least
            most[a] = low if low > most[a] else most[a]  # noqa: FURB136  # NaN is to lose
