"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.extending import intrinsic

from dask_em.kernel.layout import GROUP
from dask_em.kernel.simd import Emitter, emitted

__all__ = ["dense"]

INT = numba.types.int64


def _dense(width: int) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        xs: Any,
        weight: Any,
        at: Any,
        stride: Any,
        count: Any,
        shift: Any,
        of: Any,
        j: Any,
        first: Any,
        second: Any,
    ) -> Any:
        """Add Σ r (x − μ) and Σ r (x − μ)² of all rows, for 4 components and some vectors of columns."""

        def write(e: Emitter) -> None:
            b, rows, weights, mu, one, two = e.builder, *(e.pointer(i) for i in (0, 2, 6, 9, 10))
            xs_, at_, stride_, count_, of_, j_ = (e.arguments[i] for i in (1, 3, 4, 5, 7, 8))
            cells = [(k, v) for k in range(GROUP) for v in range(width)]
            places = [e.at(of_, e.times(xs_, k), e.lanes * v) for k, v in cells]
            means = [e.load(mu, place) for place in places]
            streams = [e.at(at_, e.times(stride_, k)) for k in range(GROUP)]

            def step(a: Any, sums: list[Any]) -> list[Any]:
                values = [e.load(rows, e.at(e.times(a, xs_), j_, e.lanes * v)) for v in range(width)]
                shares = [b.load(b.gep(weights, [e.at(stream, a)])) for stream in streams]
                r = [e.spread(e.converted(share, rows.type.pointee)) for share in shares]
                firsts, seconds = [], []
                for n, (k, v) in enumerate(cells):
                    y = b.fsub(values[v], means[n])
                    weighted = b.fmul(r[k], y)
                    firsts.append(b.fadd(sums[n], weighted))
                    seconds.append(e.fused(weighted, y, sums[len(cells) + n]))
                return firsts + seconds

            sums = e.loop(count_, e.zeros(rows, 2 * len(cells)), step)
            for n, place in enumerate(places):
                e.accumulate(one, place, sums[n])
                e.accumulate(two, place, sums[len(cells) + n])

        return emitted((x, INT, weight, INT, INT, INT, shift, INT, INT, first, second), write)

    return block


dense = {width: _dense(width) for width in (1, 2, 3)}
