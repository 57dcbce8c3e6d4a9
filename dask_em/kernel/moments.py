"""Register blocks of the sums over lists of rows, as numba intrinsics: responsibilities come in, moments leave.

Arrays are flat; offsets and strides count elements, and nothing is checked. ``x`` is of the type computed in, what sums
go to is float64.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import BYTES, LANES
from dask_em.kernel.simd import HIGH, Emitter, emitted

__all__ = ["SET", "dot", "moments", "outer", "roots", "scaled", "shares", "sifted"]

INT = numba.types.int64
INT64 = ir.IntType(64)
FOUR = 4  # sums that are taken together where each would else wait for the last
SOON = 8  # rows
SET = np.array(
    [([lane for lane in range(LANES) if bits >> lane & 1] + [0] * LANES)[:LANES] for bits in range(2**LANES)], np.uint8
).ravel()  # for each byte, which of its bits are set


def _list(e: Emitter, mask: Any, lanes: Any, i: Any, index: Any, place: Any) -> Any:
    """Write the numbers of the rows, of 8 from i on, whose bit is set; return how many they are."""
    b, byte = e.builder, ir.VectorType(ir.IntType(8), LANES)
    bits = b.zext(b.bitcast(mask, ir.IntType(LANES)), INT64)
    which = b.load(b.bitcast(b.gep(lanes, [e.times(bits, LANES)]), byte.as_pointer()))
    which.align = 1
    e.store(index, place, b.add(b.zext(which, ir.VectorType(INT64, LANES)), e.spread(i)))
    return b.ctpop(bits)


@intrinsic
def shares(_: Any, joint: Any, at: Any, scale: Any, i: Any, lanes: Any, index: Any, place: Any) -> Any:
    """List the rows, of 8, whose responsibility, joint · scale, is not zero; return how many they are.

    ``lanes`` is :data:`SET`.
    """

    def write(e: Emitter) -> Any:
        at_, i_, place_ = (e.arguments[n] for n in (1, 3, 6))
        r = e.builder.fmul(e.load(e.pointer(0), at_), e.load(e.pointer(2), i_))
        mask = e.builder.fcmp_ordered(">", r, e.constant(r, 0.0))
        return _list(e, mask, e.pointer(4), i_, e.pointer(5), place_)

    return emitted((joint, INT, scale, INT, lanes, index, INT), write, INT, BYTES)


@intrinsic
def sifted(
    _: Any,
    joint: Any,
    at: Any,
    most: Any,
    i: Any,
    slope: Any,
    above: Any,
    negligible: Any,
    faint: Any,
    beyond: Any,
    least: Any,
    lanes: Any,
    index: Any,
    place: Any,
) -> Any:
    """Judge float32's log-densities v of 8 rows by what they are at most, beside the largest: v · slope + above − most.

    Below ``negligible`` they become ``least``; below ``faint``, and above ``beyond`` themselves, they stay; the others,
    NaN among them, are listed. Return how many they are. ``lanes`` is :data:`SET`.
    """

    def write(e: Emitter) -> Any:
        b, (at_, i_, slope_, above_, negligible_, faint_, beyond_, least_, place_) = (
            e.builder,
            [e.arguments[n] for n in (1, 3, 4, 5, 6, 7, 8, 9, 12)],
        )
        value = e.load(e.pointer(0), at_)
        upper = b.fsub(e.fused(value, e.spread(slope_), e.spread(above_)), e.load(e.pointer(2), i_))
        gone = b.fcmp_ordered("<", upper, e.spread(negligible_))
        enough = b.and_(b.fcmp_ordered("<", upper, e.spread(faint_)), b.fcmp_ordered(">", value, e.spread(beyond_)))
        e.store(e.pointer(0), at_, b.select(gone, e.spread(least_), value))
        return _list(e, b.not_(b.or_(gone, enough)), e.pointer(10), i_, e.pointer(11), place_)

    numbers = (numba.types.float64,) * 6
    return emitted((joint, INT, most, INT, *numbers, lanes, index, INT), write, INT, BYTES)


@intrinsic
def roots(_: Any, joint: Any, at: Any, scale: Any, index: Any, count: Any, root: Any, squared: Any) -> Any:
    """Write weighted responsibilities of listed rows (``squared``), or their roots, in the type of ``root``.

    Return their sum. Zeros fill the last 8.
    """

    def write(e: Emitter) -> Any:
        b, table, scales, listed, target = e.builder, *(e.pointer(n) for n in (0, 2, 3, 5))
        at_, count_, squared_ = (e.arguments[n] for n in (1, 4, 6))
        undefined = ir.Constant(ir.VectorType(ir.DoubleType(), LANES), ir.Undefined)
        lanes = ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES)))

        def step(group: Any, sums: list[Any]) -> list[Any]:
            begin, value, factor = e.times(group, LANES), undefined, undefined
            for lane in range(LANES):
                row, here = b.load(b.gep(listed, [e.at(begin, lane)])), ir.IntType(32)(lane)
                value = b.insert_element(value, b.load(b.gep(table, [e.at(at_, row)])), here)
                factor = b.insert_element(factor, b.load(b.gep(scales, [row])), here)
            left = e.spread(b.sub(count_, begin))
            r = b.select(b.icmp_signed("<", lanes, left), b.fmul(value, factor), e.constant(value, 0.0))
            kept = b.select(squared_, r, e.sqrt(r))
            e.store(target, begin, e.converted(kept, target.type.pointee))
            return [b.fadd(sums[0], r)]

        return e.total(e.loop(b.lshr(e.at(count_, LANES - 1), INT64(3)), e.zeros(table, 1), step)[0])

    types = (joint, INT, scale, index, INT, root, numba.types.boolean)
    return emitted(types, write, numba.types.float64, BYTES)


@intrinsic
def dot(_: Any, a: Any, b: Any, count: Any) -> Any:
    """Return Σ a b, 64 bytes at a time."""

    def write(e: Emitter) -> Any:
        one, other = e.pointer(0), e.pointer(1)

        def step(i: Any, sums: list[Any]) -> list[Any]:
            at = e.times(i, e.lanes)
            return [e.fused(e.load(one, at), e.load(other, at), sums[0])]

        total = e.loop(e.builder.udiv(e.arguments[2], INT64(e.lanes)), e.zeros(one, 1), step)[0]
        return e.converted(e.total(total), ir.DoubleType())

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
