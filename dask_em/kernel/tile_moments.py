"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import BYTES, GROUP
from dask_em.kernel.simd import Emitter, emitted

__all__ = ["dense", "deviations", "squares", "weighed"]

INT = numba.types.int64
INT64 = ir.IntType(64)


@intrinsic
def weighed(_: Any, joint: Any, at: Any, scale: Any, i: Any, count: Any) -> Any:
    """Turn shares into weighted responsibilities, joint · scale, and return their sum; 64 bytes at a time."""

    def write(e: Emitter) -> Any:
        b, table, scales = e.builder, e.pointer(0), e.pointer(2)
        at_, i_, count_ = (e.arguments[n] for n in (1, 3, 4))

        def step(n: Any, sums: list[Any]) -> list[Any]:
            here = e.times(n, e.lanes)
            r = b.fmul(e.load(table, e.at(at_, here)), e.load(scales, e.at(i_, here)))
            e.store(table, e.at(at_, here), r)
            return [b.fadd(sums[0], r)]

        return e.total(e.loop(b.udiv(count_, INT64(e.lanes)), e.zeros(table, 1), step)[0])

    return emitted((joint, INT, scale, INT, INT), write, numba.types.float64, BYTES)


def _dense(width: int, squares: bool, about_means: bool) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        xs: Any,
        begin: Any,
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
        """Add Σ r y, and Σ r y² where that is wanted, of rows, for 4 components and some vectors of columns.

        y is x, or x − μ.
        """

        def write(e: Emitter) -> None:
            b, rows, weights, mu, one, two = e.builder, *(e.pointer(i) for i in (0, 3, 7, 10, 11))
            xs_, begin_, at_, stride_, count_, of_, j_ = (e.arguments[i] for i in (1, 2, 4, 5, 6, 8, 9))
            cells = [(k, v) for k in range(GROUP) for v in range(width)]
            places = [e.at(of_, e.times(xs_, k), e.lanes * v) for k, v in cells]
            means = [e.load(mu, place) for place in places] if about_means else []
            streams = [e.at(at_, e.times(stride_, k)) for k in range(GROUP)]
            corner = e.at(e.times(begin_, xs_), j_)

            def step(a: Any, sums: list[Any]) -> list[Any]:
                values = [e.load(rows, e.at(corner, e.times(a, xs_), e.lanes * v)) for v in range(width)]
                shares = [b.load(b.gep(weights, [e.at(stream, a)])) for stream in streams]
                r = [e.spread(e.converted(share, rows.type.pointee)) for share in shares]
                squared = [b.fmul(value, value) for value in values] if squares and not about_means else []
                firsts, seconds = [], []
                for n, (k, v) in enumerate(cells):
                    so_far = sums[len(cells) + n] if squares else None
                    if about_means:
                        y = b.fsub(values[v], means[n])
                        weighted = b.fmul(r[k], y)
                        firsts.append(b.fadd(sums[n], weighted))
                        seconds.append(e.fused(weighted, y, so_far))
                        continue
                    firsts.append(e.fused(r[k], values[v], sums[n]))
                    if squares:
                        seconds.append(e.fused(r[k], squared[v], so_far))
                return firsts + seconds

            sums = e.loop(count_, e.zeros(rows, (1 + squares) * len(cells)), step)
            for n, place in enumerate(places):
                e.accumulate(one, place, sums[n])
                if squares:
                    e.accumulate(two, place, sums[len(cells) + n])

        return emitted((x, INT, INT, weight, INT, INT, INT, shift, INT, INT, first, second), write)

    return block


WIDTHS = (1, 2, 3)
deviations = {width: _dense(width, squares=True, about_means=True) for width in WIDTHS}
squares = {width: _dense(width, squares=True, about_means=False) for width in WIDTHS}
dense = {width: _dense(width, squares=False, about_means=False) for width in WIDTHS}
