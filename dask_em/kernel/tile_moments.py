"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import BYTES, GROUP
from dask_em.kernel.simd import TALL, Emitter, emitted

__all__ = ["crossed", "deviations", "firsts", "squares", "weighed"]

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


def _first(e: Emitter, values: list[Any], r: list[Any], _: list[Any], sums: list[Any]) -> list[Any]:
    """Add r x."""
    cells = [(share, value) for share in r for value in values]
    return [e.fused(share, value, total) for (share, value), total in zip(cells, sums, strict=True)]


def _squared(e: Emitter, values: list[Any], r: list[Any], means: list[Any], sums: list[Any]) -> list[Any]:
    """Add r x and r x²."""
    half = len(sums) // 2
    squares = [e.builder.fmul(value, value) for value in values]
    return _first(e, values, r, means, sums[:half]) + _first(e, squares, r, means, sums[half:])


def _deviating(e: Emitter, values: list[Any], r: list[Any], means: list[Any], sums: list[Any]) -> list[Any]:
    """Add r (x − μ) and r (x − μ)²."""
    b, firsts, seconds = e.builder, [], []
    cells = [(share, value) for share in r for value in values]
    for n, ((share, value), mean) in enumerate(zip(cells, means, strict=True)):
        y = b.fsub(value, mean)
        weighted = b.fmul(share, y)
        firsts.append(b.fadd(sums[n], weighted))
        seconds.append(e.fused(weighted, y, sums[len(cells) + n]))
    return firsts + seconds


def _dense(width: int, add: Callable[..., list[Any]]) -> Any:
    kinds = 1 if add is _first else 2

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
        """Add what ``add`` says of rows to ``first`` and ``second``, for 4 components and some vectors of columns."""

        def write(e: Emitter) -> None:
            b, rows, weights, mu, *targets = e.builder, *(e.pointer(i) for i in (0, 3, 7, 10, 11))
            xs_, begin_, at_, stride_, count_, of_, j_ = (e.arguments[i] for i in (1, 2, 4, 5, 6, 8, 9))
            places = [e.at(of_, e.times(xs_, k), e.lanes * v) for k in range(GROUP) for v in range(width)]
            means = [e.load(mu, place) for place in places] if add is _deviating else []
            streams = [e.at(at_, e.times(stride_, k)) for k in range(GROUP)]
            corner = e.at(e.times(begin_, xs_), j_)

            def step(a: Any, sums: list[Any]) -> list[Any]:
                values = [e.load(rows, e.at(corner, e.times(a, xs_), e.lanes * v)) for v in range(width)]
                shares = [b.load(b.gep(weights, [e.at(stream, a)])) for stream in streams]
                r = [e.spread(e.converted(share, rows.type.pointee)) for share in shares]
                return add(e, values, r, means, sums)

            sums = e.loop(count_, e.zeros(rows, kinds * len(places)), step)
            for n, total in enumerate(sums):
                e.accumulate(targets[n // len(places)], places[n % len(places)], total)

        return emitted((x, INT, INT, weight, INT, INT, INT, shift, INT, INT, first, second), write)

    return block


firsts, squares, deviations = (
    {width: _dense(width, add) for width in (1, 2, 3)} for add in (_first, _squared, _deviating)
)


@intrinsic
def crossed(_: Any, x: Any, xo: Any, count: Any, weight: Any, at: Any, stride: Any, groups: Any, out: Any) -> Any:
    """Add Σ_a r_ka x_ja of a block of rows to vectors, for ``groups`` of 4 components: x (count, rows), out (k, count).

    ``count`` is a multiple of what is taken at a time.
    """

    def write(e: Emitter) -> None:
        b, rows, weights, target = e.builder, e.pointer(0), e.pointer(3), e.pointer(7)
        xo_, count_, at_, stride_, groups_ = (e.arguments[i] for i in (1, 2, 4, 5, 6))
        cells = [(k, j) for k in range(GROUP) for j in range(TALL)]

        def four(group: Any) -> None:
            first = e.times(group, GROUP)
            streams = [e.at(at_, e.times(stride_, e.at(first, k))) for k in range(GROUP)]

            def some(n: Any) -> None:
                feature = e.times(n, TALL)

                def step(a: Any, sums: list[Any]) -> list[Any]:
                    here = e.times(a, e.lanes)
                    values = [e.load(rows, e.at(xo_, e.times(e.at(feature, j), e.rows), here)) for j in range(TALL)]
                    r = [
                        e.converted(e.load(weights, e.at(stream, here), e.lanes), rows.type.pointee)
                        for stream in streams
                    ]
                    return [e.fused(r[k], values[j], total) for (k, j), total in zip(cells, sums, strict=True)]

                sums = e.loop(INT64(e.rows // e.lanes), e.zeros(rows, len(cells)), step)
                for (k, j), total in zip(cells, sums, strict=True):
                    cell = e.at(e.times(e.at(first, k), count_), feature, j)
                    e.accumulate(target, e.times(cell, e.lanes), total)

            e.each(b.udiv(count_, INT64(TALL)), some)

        e.each(groups_, four)

    return emitted((x, INT, INT, weight, INT, INT, INT, out), write)
