"""Register blocks of the sums over lists of rows, as numba intrinsics: responsibilities come in, moments leave.

Arrays are flat; offsets and strides count elements, and nothing is checked. ``x`` is of the type computed in, what sums
go to is float64.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import BYTES, LANES
from dask_em.kernel.simd import HIGH, Emitter, emitted

__all__ = ["dot", "moments", "outer", "roots", "scaled", "shares"]

INT = numba.types.int64
INT64 = ir.IntType(64)
FOUR = 4  # sums that are taken together where each would else wait for the last
SOON = 8  # rows


@intrinsic
def shares(_: Any, joint: Any, at: Any, scale: Any, i: Any, weight: Any, index: Any, place: Any) -> Any:
    """Write the weighted responsibilities of 8 rows and the rows' numbers; return a bit for each that is not zero."""

    def write(e: Emitter) -> Any:
        b, (at_, i_, place_) = e.builder, (e.arguments[i] for i in (1, 3, 6))
        r = b.fmul(e.load(e.pointer(0), at_), e.load(e.pointer(2), i_))
        e.store(e.pointer(4), place_, r)
        numbers = ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES)))
        e.store(e.pointer(5), place_, b.add(numbers, e.spread(i_)))
        return b.zext(b.bitcast(b.fcmp_ordered(">", r, e.constant(r, 0.0)), ir.IntType(LANES)), INT64)

    return emitted((joint, INT, scale, INT, weight, index, INT), write, INT, BYTES)


@intrinsic
def roots(_: Any, weight: Any, count: Any, root: Any, squared: Any) -> Any:
    """Write weights (``squared``), or their square roots, in the type of ``root``; return their sum; 8 at a time."""

    def write(e: Emitter) -> Any:
        b, source, target = e.builder, e.pointer(0), e.pointer(2)

        def step(i: Any, sums: list[Any]) -> list[Any]:
            at = e.times(i, LANES)
            value = e.load(source, at)
            kept = b.select(e.arguments[3], value, e.sqrt(value))
            e.store(target, at, e.converted(kept, target.type.pointee))
            return [b.fadd(sums[0], value)]

        return e.total(e.loop(b.lshr(e.arguments[1], INT64(3)), e.zeros(source, 1), step)[0])

    return emitted((weight, INT, root, numba.types.boolean), write, numba.types.float64, BYTES)


@intrinsic
def dot(_: Any, a: Any, b: Any, count: Any) -> Any:
    """Return Σ a b, 8 at a time."""

    def write(e: Emitter) -> Any:
        one, other = e.pointer(0), e.pointer(1)

        def step(i: Any, sums: list[Any]) -> list[Any]:
            at = e.times(i, LANES)
            return [e.fused(e.load(one, at), e.load(other, at), sums[0])]

        return e.total(e.loop(e.builder.lshr(e.arguments[2], INT64(3)), e.zeros(one, 1), step)[0])

    return emitted((a, b, INT), write, numba.types.float64, BYTES)


def _scaled(width: int) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        xs: Any,
        index: Any,
        root: Any,
        io: Any,
        count: Any,
        shift: Any,
        so: Any,
        j: Any,
        z: Any,
        out: Any,
    ) -> Any:
        """Write √r (x − μ) of the listed rows to ``z`` and add Σ r (x − μ) to ``out``, for some vectors of columns."""

        def write(e: Emitter) -> None:
            b, rows, listed, roots, mu, target, total = e.builder, *(e.pointer(i) for i in (0, 2, 3, 6, 9, 10))
            xs_, io_, count_, so_, j_ = (e.arguments[i] for i in (1, 4, 5, 7, 8))
            together = FOUR // width  # rows: several sums, so that one addition need not wait for the last
            means = [e.load(mu, e.at(so_, e.lanes * v)) for v in range(width)]

            def step(group: Any, sums: list[Any]) -> list[Any]:
                new = []
                for lane in range(together):
                    a = e.at(e.times(group, together), lane)
                    row = e.at(e.times(b.load(b.gep(listed, [e.at(io_, a)])), xs_), j_)
                    later = e.at(e.times(b.load(b.gep(listed, [e.at(io_, a, SOON)])), xs_), j_)
                    for v in range(width):
                        e.prefetch(rows, e.at(later, e.lanes * v))
                    place = e.at(e.times(a, xs_), j_)
                    r = e.spread_at(roots, e.at(io_, a))
                    for v in range(width):
                        value = b.fmul(b.fsub(e.load(rows, e.at(row, e.lanes * v)), means[v]), r)
                        e.store(target, e.at(place, e.lanes * v), value)
                        new.append(e.fused(value, r, sums[lane * width + v]))
                return new

            sums = e.loop(b.udiv(count_, INT64(together)), e.zeros(rows, FOUR), step)
            for v in range(width):
                e.accumulate(total, e.at(so_, e.lanes * v), e.sum_of(sums[v::width]))

        return emitted((x, INT, index, root, INT, INT, shift, INT, INT, z, out), write)

    return block


scaled = {width: _scaled(width) for width in (1, 2, 4)}


def _outer(width: int) -> Any:
    @intrinsic
    def block(_: Any, z: Any, zs: Any, count: Any, i0: Any, j0: Any, out: Any, oo: Any, os: Any) -> Any:
        """Add Σ_a z_ai z_aj to ``out``, for some columns i and some vectors of columns j."""

        def write(e: Emitter) -> None:
            rows, target = e.pointer(0), e.pointer(5)
            zs_, count_, i_, j_, oo_, os_ = (e.arguments[i] for i in (1, 2, 3, 4, 6, 7))

            def step(a: Any, sums: list[Any]) -> list[Any]:
                row = e.times(a, zs_)
                right = [e.load(rows, e.at(row, j_, e.lanes * v)) for v in range(width)]
                new = []
                for i in range(HIGH):
                    left = e.spread_at(rows, e.at(row, i_, i))
                    new += [e.fused(left, right[v], sums[i * width + v]) for v in range(width)]
                return new

            sums = e.loop(count_, e.zeros(rows, HIGH * width), step)
            for i in range(HIGH):
                place = e.at(oo_, e.times(os_, i))
                for v in range(width):
                    e.accumulate(target, e.at(place, e.lanes * v), sums[i * width + v])

        return emitted((z, INT, INT, INT, INT, out, INT, INT), write)

    return block


outer = {width: _outer(width) for width in (1, 2, 3)}


def _moments(width: int) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        xs: Any,
        index: Any,
        weight: Any,
        count: Any,
        shift: Any,
        of: Any,
        j: Any,
        first: Any,
        second: Any,
    ) -> Any:
        """Add Σ r (x − μ) and Σ r (x − μ)² of the listed rows, for some vectors of columns."""

        def write(e: Emitter) -> None:
            b, rows, listed, weights, mu, one, two = e.builder, *(e.pointer(i) for i in (0, 2, 3, 5, 8, 9))
            xs_, count_, of_, j_ = (e.arguments[i] for i in (1, 4, 6, 7))
            together = FOUR // width
            means = [e.load(mu, e.at(of_, e.lanes * v)) for v in range(width)]

            def step(group: Any, sums: list[Any]) -> list[Any]:
                firsts, seconds = [], []
                for lane in range(together):
                    a = e.at(e.times(group, together), lane)
                    row = e.at(e.times(b.load(b.gep(listed, [a])), xs_), j_)
                    r = e.spread_at(weights, a)
                    for v in range(width):
                        y = b.fsub(e.load(rows, e.at(row, e.lanes * v)), means[v])
                        weighted = b.fmul(r, y)
                        firsts.append(b.fadd(sums[lane * width + v], weighted))
                        seconds.append(e.fused(weighted, y, sums[FOUR + lane * width + v]))
                return firsts + seconds

            sums = e.loop(b.udiv(count_, INT64(together)), e.zeros(rows, 2 * FOUR), step)
            for target, parts in ((one, sums[:FOUR]), (two, sums[FOUR:])):
                for v in range(width):
                    e.accumulate(target, e.at(of_, e.lanes * v), e.sum_of(parts[v::width]))

        return emitted((x, INT, index, weight, INT, shift, INT, INT, first, second), write)

    return block


moments = {width: _moments(width) for width in (1, 2, 4)}
