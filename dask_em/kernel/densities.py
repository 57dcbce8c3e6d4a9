"""Register blocks of the E-step, as numba intrinsics: rows enter, log-densities leave.

Arrays are flat; offsets and strides count elements, and nothing is checked. ``x`` is of the type computed in, what sums
go to is float64. A block of rows is taken in parts of a few vectors of rows by 4 coordinates or components: 24 sums in
32 registers, or 8 to 12 in 16.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.elementary import exp, log
from dask_em.kernel.layout import BYTES, GROUP, LANES
from dask_em.kernel.simd import REGISTERS, TALL, Emitter, emitted

__all__ = ["BROAD", "distances", "entered", "mapped", "parts", "softmax", "turned", "whitened"]

NEGLIGIBLE = -39.14  # log of 1e-17
LEAST = -1e300  # of a log-density: beyond it all components are equally far
INT = numba.types.int64
INT64, DOUBLE = ir.IntType(64), ir.DoubleType()
SIDE_BY_SIDE = 2  # vectors of rows
BROAD = TALL if REGISTERS >= 32 else 2  # the same by 4 components, beside means and scales: 3 would leave them no room
AHEAD = 64  # elements of a factor asked for early: without it each line waits for the L2 cache, 1.6 x slower


@intrinsic
def entered(_: Any, x: Any, width: Any, values: Any, at: Any, rows: Any, d: Any, centre: Any) -> Any:
    """Write rows less the centre, (rows, width) with zeros beyond column d; read up to a vector beyond the last."""

    def write(e: Emitter) -> None:
        b, target, source, middle = e.builder, e.pointer(0), e.pointer(2), e.pointer(6)
        width_, at_, rows_, d_ = (e.arguments[i] for i in (1, 3, 4, 5))
        columns = ir.Constant(ir.VectorType(INT64, e.lanes), list(range(e.lanes)))

        def row(i: Any, _: list[Any]) -> list[Any]:
            def vector(v: Any, _: list[Any]) -> list[Any]:
                j = e.times(v, e.lanes)
                wide = e.converted(e.load(source, e.at(at_, e.times(i, d_), j), e.lanes), DOUBLE)
                y = e.converted(b.fsub(wide, e.load(middle, j, e.lanes)), target.type.pointee)
                inside = b.icmp_signed("<", columns, e.spread(b.sub(d_, j)))
                e.store(target, e.at(e.times(i, width_), j), b.select(inside, y, ir.Constant(y.type, None)))
                return []

            return e.loop(b.udiv(width_, INT64(e.lanes)), [], vector)

        e.loop(rows_, [], row)

    return emitted((x, INT, values, INT, INT, INT, centre), write)


def _turned(listed: bool) -> Any:
    @intrinsic
    def block(_: Any, x: Any, width: Any, index: Any, first: Any, j: Any, out: Any) -> Any:
        """Transpose a vector of columns, of 64 bytes, of a block of rows, which may be listed: out (width, rows)."""

        def write(e: Emitter) -> None:
            b, rows, numbers, target = e.builder, e.pointer(0), e.pointer(2), e.pointer(5)
            width_, first_, j_ = (e.arguments[i] for i in (1, 3, 4))

            def square(n: Any) -> None:
                down = e.times(n, e.lanes)
                here = [e.at(first_, down, i) for i in range(e.lanes)]
                begins = [e.times(b.load(b.gep(numbers, [at])) if listed else at, width_) for at in here]
                for right in range(0, e.unit, e.lanes):
                    vectors = [e.load(rows, e.at(begin, j_, right)) for begin in begins]
                    for i, vector in enumerate(e.transposed(vectors)):
                        e.store(target, e.at(e.times(e.at(j_, right, i), e.rows), down), vector)

            e.each(e.rows // e.lanes, square)

        return emitted((x, INT, index, INT, INT, out), write)

    return block


turned = {listed: _turned(listed) for listed in (True, False)}


def parts(e: Emitter, write: Any, rows: Any = None, tall: int = TALL) -> None:
    """Write what is done with each part of a block, or of its first rows; it is given where the part begins."""
    part = tall * e.lanes
    count = e.rows // part if rows is None else e.builder.udiv(e.at(rows, part - 1), INT64(part))
    e.each(count, lambda n: write(e.times(n, part)))


def _mapped(
    e: Emitter, block: Any, pointers: tuple[Any, Any], factor_at: Any, part: Any, mean: tuple[Any, Any] | None = None
) -> list[Any]:
    """Return z_i = Σ_{j≤i} u_ji (x_j − μ_j), for 4 coordinates i of a part of a block of rows; μ may be zero."""
    b, (rows, u) = e.builder, pointers
    begin = e.at(factor_at, e.times(e.times(block, e.at(block, 1)), GROUP * GROUP // 2))

    def step(j: Any, z: list[Any]) -> list[Any]:
        here = e.at(e.times(j, e.rows), part)
        y = [e.load(rows, e.at(here, e.lanes * v)) for v in range(TALL)]
        if mean is not None:
            mu = e.spread_at(mean[0], e.at(mean[1], j))
            y = [b.fsub(value, mu) for value in y]
        row = e.at(begin, e.times(j, GROUP))
        e.prefetch(u, e.at(row, AHEAD))
        weights = [e.spread_at(u, e.at(row, i)) for i in range(GROUP)]
        return [e.fused(weights[i], y[v], z[i * TALL + v]) for i in range(GROUP) for v in range(TALL)]

    return e.loop(e.times(e.at(block, 1), GROUP), e.zeros(rows, GROUP * TALL), step)


@intrinsic
def whitened(
    _: Any, x: Any, shift: Any, so: Any, factor: Any, fo: Any, padded: Any, constant: Any, out: Any, oo: Any, n: Any
) -> Any:
    """Write constant − ½ Σ_i z_i², z = Uᵀ (x − μ), for the first n rows of a block, or some more.

    ``x`` is (padded, rows), ``shift`` μ; ``factor`` holds (4, 4), (8, 4), (12, 4), … one after the other.
    """

    def write(e: Emitter) -> None:
        pointers, mu, target = (e.pointer(0), e.pointer(3)), e.pointer(1), e.pointer(7)
        so_, fo_, padded_, constant_, oo_ = (e.arguments[i] for i in (2, 4, 5, 6, 8))

        def rows(part: Any) -> None:
            def four(block: Any, sums: list[Any]) -> list[Any]:
                z = _mapped(e, block, pointers, fo_, part, (mu, so_))
                for i in range(GROUP):
                    sums = [e.fused(z[i * TALL + v], z[i * TALL + v], sums[v]) for v in range(TALL)]
                return sums

            for v, total in enumerate(e.loop(e.builder.lshr(padded_, INT64(2)), e.zeros(pointers[0], TALL), four)):
                half = e.builder.fmul(total, e.constant(total, -0.5))
                e.store_sum(target, e.at(oo_, part, e.lanes * v), half, constant_)

        parts(e, rows, e.arguments[9])

    return emitted((x, shift, INT, factor, INT, INT, numba.types.float64, out, INT, INT), write)


@intrinsic
def mapped(_: Any, x: Any, factor: Any, padded: Any, out: Any) -> Any:
    """Write z = Uᵀ x for a block of rows, (padded, rows)."""

    def write(e: Emitter) -> None:
        pointers, target = (e.pointer(0), e.pointer(1)), e.pointer(3)

        def rows(part: Any) -> None:
            def four(block: Any, sums: list[Any]) -> list[Any]:
                begin = e.at(e.times(block, GROUP * e.rows), part)
                for i, vector in enumerate(_mapped(e, block, pointers, INT64(0), part)):
                    e.store(target, e.at(begin, i // TALL * e.rows + i % TALL * e.lanes), vector)
                return sums

            e.loop(e.builder.lshr(e.arguments[2], INT64(2)), [], four)

        parts(e, rows)

    return emitted((x, factor, INT, out), write)


def _distances(scaled_columns: bool) -> Any:
    @intrinsic
    def block(
        _: Any, x: Any, shift: Any, so: Any, scale: Any, co: Any, count: Any, out: Any, oo: Any, stride: Any
    ) -> Any:
        """Subtract ½ Σ_j s_kj (x_j − μ_kj)² (or s_k Σ_j …) from ``out``, for 4 components k of a block of rows.

        ``x`` is (count, rows), ``shift`` (count, 4), ``scale`` (count, 4) or (4,).
        """

        def write(e: Emitter) -> None:
            rows, mu, s, target = (e.pointer(i) for i in (0, 1, 3, 6))
            so_, co_, count_, oo_, stride_ = (e.arguments[i] for i in (2, 4, 5, 7, 8))

            def part(begin: Any) -> None:
                def step(j: Any, sums: list[Any]) -> list[Any]:
                    here = e.at(e.times(j, e.rows), begin)
                    values = [e.load(rows, e.at(here, e.lanes * v)) for v in range(BROAD)]
                    new = []
                    for k in range(GROUP):
                        mean = e.spread_at(mu, e.at(so_, e.times(j, GROUP), k))
                        weight = e.spread_at(s, e.at(co_, e.times(j, GROUP), k)) if scaled_columns else None
                        for v in range(BROAD):
                            y = e.builder.fsub(values[v], mean)
                            weighted = y if weight is None else e.builder.fmul(y, weight)
                            new.append(e.fused(weighted, y, sums[k * BROAD + v]))
                    return new

                sums = e.loop(count_, e.zeros(rows, GROUP * BROAD), step)
                for k in range(GROUP):
                    factor = e.constant(sums[0], -0.5)
                    if not scaled_columns:
                        factor = e.builder.fmul(factor, e.spread_at(s, e.at(co_, k)))
                    place = e.at(oo_, e.times(stride_, k), begin)
                    for v in range(BROAD):
                        e.accumulate(target, e.at(place, e.lanes * v), e.builder.fmul(sums[k * BROAD + v], factor))

            parts(e, part, tall=BROAD)

        return emitted((x, shift, INT, scale, INT, INT, out, INT, INT), write)

    return block


distances = {True: _distances(True), False: _distances(False)}


@intrinsic
def softmax(
    _: Any, joint: Any, offset: Any, stride: Any, count: Any, weight: Any, scale: Any, density: Any, row: Any
) -> Any:
    """Turn log π_k p_k(x) into exp(· − largest), leave w / Σ in ``scale`` and log p(x) in ``density``, for 16 rows.

    Return how many of the shares are not zero.
    What is below 1e-17 of the largest becomes zero: subnormal products are several times slower.
    Two vectors go side by side, since an exponential waits for itself longer than it computes.
    """

    def write(e: Emitter) -> Any:
        b, table = e.builder, e.pointer(0)
        offset_, stride_, count_, row_ = (e.arguments[i] for i in (1, 2, 3, 7))
        vectors = [i * LANES for i in range(SIDE_BY_SIDE)]

        def places(k: Any) -> list[Any]:
            return [e.at(offset_, e.times(k, stride_), part) for part in vectors]

        def larger(a: Any, c: Any) -> Any:
            return b.select(b.fcmp_ordered(">", a, c), a, c)

        def largest_yet(k: Any, sums: list[Any]) -> list[Any]:
            return [larger(e.load(table, place), most) for place, most in zip(places(k), sums, strict=True)]

        least = e.constant(e.load(table, offset_), LEAST)
        largest = e.loop(count_, [least] * SIDE_BY_SIDE, largest_yet)

        def exponentiate(k: Any, sums: list[Any]) -> list[Any]:
            *totals, shares = sums
            here = places(k)
            below = [b.fsub(larger(e.load(table, at), least), most) for at, most in zip(here, largest, strict=True)]
            heard = [b.fcmp_ordered(">", value, e.constant(value, NEGLIGIBLE)) for value in below]
            zero = e.constant(least, 0.0)

            def exponentials() -> list[Any]:
                some = [b.select(loud, exp(e, value), zero) for loud, value in zip(heard, below, strict=True)]
                return [*some, b.add(shares, e.number_set(heard))]

            *values, shares = e.when_any(b.or_(*heard), exponentials, [zero] * SIDE_BY_SIDE + [shares])
            for place, value in zip(here, values, strict=True):
                e.store(table, place, value)
            return [*(b.fadd(total, value) for total, value in zip(totals, values, strict=True)), shares]

        *totals, shares = e.loop(count_, [*e.zeros(table, SIDE_BY_SIDE), INT64(0)], exponentiate)
        for part, most, total in zip(vectors, largest, totals, strict=True):
            at = e.at(row_, part)
            e.store(e.pointer(5), at, b.fdiv(e.load(e.pointer(4), at), total))
            e.store(e.pointer(6), at, b.fadd(most, log(e, total)))
        return shares

    return emitted((joint, INT, INT, INT, weight, scale, density, INT), write, INT, BYTES)
