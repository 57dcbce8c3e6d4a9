"""Which components a row is near, told in float32 first: the others need no density, for their share would be zero.

Where components lie apart, most densities are of rows that a component has no share in. float32 takes half the time,
and its error has a bound, so that what is left out is below 1e-17 of a row's largest density for certain: the
responsibilities have the same bits as without.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dask_em.kernel import densities
from dask_em.kernel.densities import LEAST, NEGLIGIBLE, whitened
from dask_em.kernel.layout import BYTES, GROUP, STRETCH, VECTORS
from dask_em.kernel.moments import SET, dot, near

__all__ = ["screen"]

turned, turned_listed = densities.turned[False], densities.turned[True]
BELOW = NEGLIGIBLE - 0.01  # of the largest log-density: rounding of the bounds is far less
FARTHEST = 14.0  # |z| of a component whose share is nearly zero: bounds are closest there
inner = numba.njit(nogil=True)  # cached with the function that calls it


@inner
def screen(begin: int, n: int, shape: Any, model: Any, space: Any) -> None:
    """Fill log π_k p_k(x), (k, stride), of rows from ``begin`` to n; what is negligible is the least there is."""
    for first in range(begin, n, STRETCH):
        _bound(first, shape, model, space)
    k, _, padded, width = shape
    constant, shift, _, triangle, _, _ = model
    x, joint, (columns, _), scale, _, density, _, index, _, _, (_, found), _ = space
    stride, lanes, size = len(scale), BYTES // x.itemsize, padded * (padded + GROUP) // 2
    rows = VECTORS * lanes
    for i in range(k):
        m = 0
        for a in range(begin, n, 8):
            m += near(joint, i * stride + a, density, a, SET, index, m)
        for a in range(m, -(-m // rows) * rows):
            index[a] = 0
        joint[i * stride + begin : i * stride + n] = LEAST
        for a in range(0, m, rows):
            for j in range(0, width, lanes):
                turned_listed(x, width, index, a, j, columns)
            count = min(rows, m - a)
            whitened(columns, shift, i * padded, triangle, i * size, padded, constant[i], found, 0, count)
            for b in range(count):
                joint[i * stride + index[a + b]] = found[b]


@inner
def _bound(first: int, shape: Any, model: Any, space: Any) -> None:
    """Fill upper bounds of log π_k p_k(x) for a stretch of rows, and in ``density`` what is not negligible.

    With |fl(z) − z| ≤ δ and any η in (0, 1): |z|² is at least (1 − η) |fl(z)|² − δ²/η, and at most
    (1 + η) |fl(z)|² + δ² (1 + 1/η).
    """
    k, d, padded, width = shape
    constant, (shift, triangle, reach, length) = model[0], model[5]
    x, joint, (columns, _), scale, _, density, _, index, _, _, (coarse, _), _ = space
    stride, lanes, size = len(scale), BYTES // x.itemsize, padded * (padded + GROUP) // 2
    rows = VECTORS * lanes
    for half in range(0, STRETCH, rows):
        for j in range(0, width, lanes):
            turned(x, width, index, first + half, j, columns)
        for j in range(padded):
            for a in range(rows):
                coarse[j * STRETCH + half + a] = columns[j * rows + a]
    here = x[first * width : (first + STRETCH) * width]
    far, most = np.sqrt(dot(here, here, STRETCH * width)), density[first : first + STRETCH]
    most[:] = -np.inf
    for i in range(k):
        at = i * stride + first
        whitened(coarse, shift, i * padded, triangle, i * size, padded, constant[i], joint, at, STRETCH)
        bounded = joint[at : at + STRETCH]
        off = reach[i] * (far + length[i])
        part = min(max(off / FARTHEST, 1e-4 + 3e-7 * d), 0.5)  # the least is for the rounding of |fl(z)|² itself
        above, below = 0.5 * off * off / part, 0.5 * off * off * (1 + 1 / part)
        least, largest = constant[i] * part + below, constant[i] * part + above
        for a in range(STRETCH):
            low = bounded[a] * (1 + part) - least
            most[a] = low if low > most[a] else most[a]  # noqa: FURB136  # NaN is to lose
            bounded[a] = bounded[a] * (1 - part) + largest
    for a in range(STRETCH):
        most[a] += BELOW
