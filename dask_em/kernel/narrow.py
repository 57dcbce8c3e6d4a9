"""Register blocks for rows of at most 8 columns, as numba intrinsics: loops are written out for each number of them.

Conventions are those of :mod:`~dask_em.kernel.moments`. The rows of a tile are blocks of columns, (8, rows) each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import GROUP, LANES, STRETCH
from dask_em.kernel.simd import REGISTERS, Emitter, emitted

__all__ = ["columns_entered", "narrow", "whitened_narrow"]

INT = numba.types.int64
INT64 = ir.IntType(64)
MOST = 24 if REGISTERS >= 32 else 11  # sums that stay in registers


def _for_each_width(e: Emitter, d: Any, write: Callable[[int], Any]) -> list[tuple[Any, Any]]:
    """Write what is done for each number of columns, which ``d`` chooses; return what each gives, and where it ends."""
    b, found = e.builder, []
    after, none = (b.append_basic_block(name) for name in ("done", "none"))
    choice = b.switch(d, none)
    for columns in range(1, LANES + 1):
        here = b.append_basic_block(f"columns{columns}")
        choice.add_case(INT64(columns), here)
        b.position_at_end(here)
        found.append((write(columns), b.block))
        b.branch(after)
    b.position_at_end(none)
    b.unreachable()
    b.position_at_end(after)
    return found


def _place(e: Emitter, row: Any) -> Any:
    """Return where a row's first column stands."""
    block, inside = e.builder.udiv(row, INT64(e.rows)), e.builder.urem(row, INT64(e.rows))
    return e.at(e.times(block, LANES * e.rows), inside)


@intrinsic
def columns_entered(_: Any, x: Any, values: Any, at: Any, rows: Any, d: Any, centre: Any) -> Any:
    """Write rows less the centre as columns, with zeros up to a multiple of 4, a vector of rows at a time.

    Up to 16 values beyond the last row are read, and as many of the centre.
    """

    def write(e: Emitter) -> None:
        b, target, source, middle = e.builder, e.pointer(0), e.pointer(1), e.pointer(5)
        at_, rows_, d_ = (e.arguments[i] for i in (2, 3, 4))

        def square(down: Any, right: Any) -> None:
            row, left = e.times(down, e.lanes), e.times(right, e.lanes)
            place = _place(e, row)
            begin = e.at(at_, e.times(row, d_), left)
            lines = [e.load(source, e.at(begin, e.times(d_, i)), e.lanes) for i in range(e.lanes)]
            for i, line in enumerate(e.transposed(lines)[:LANES]):
                j = e.at(left, i)
                mean = e.spread(b.load(b.gep(middle, [j])), e.lanes)
                y = e.converted(b.fsub(e.converted(line, ir.DoubleType()), mean), target.type.pointee)
                inside = b.select(b.icmp_signed("<", j, d_), y, ir.Constant(y.type, None))
                e.store(target, e.at(place, e.times(j, e.rows)), inside)

        groups = b.udiv(e.at(d_, GROUP - 1), INT64(GROUP))
        across = b.udiv(e.at(e.times(groups, GROUP), e.lanes - 1), INT64(e.lanes))
        e.each(b.udiv(rows_, INT64(e.lanes)), lambda down: e.each(across, partial(square, down)))

    return emitted((x, values, INT, INT, INT, centre), write)


@intrinsic
def whitened_narrow(
    _: Any, x: Any, d: Any, n: Any, shift: Any, so: Any, factor: Any, fo: Any, constant: Any, out: Any, oo: Any
) -> Any:
    """Write constant − ½ Σ_i z_i², z = Uᵀ (x − μ), for n rows: ``whitened`` for blocks of few columns."""

    def write(e: Emitter) -> None:
        b, rows, mu, u, target = e.builder, *(e.pointer(i) for i in (0, 3, 5, 8))
        n_, so_, fo_, constant_, oo_ = (e.arguments[i] for i in (2, 4, 6, 7, 9))

        def place(j: int, i: int) -> Any:
            block = i // GROUP
            return e.at(fo_, GROUP * GROUP * block * (block + 1) // 2 + j * GROUP + i % GROUP)

        def widened(columns: int) -> None:
            means = [e.spread_at(mu, e.at(so_, j)) for j in range(columns)]
            factors = {(j, i): e.spread_at(u, place(j, i)) for i in range(columns) for j in range(i + 1)}

            def vector(block: Any, n: Any) -> None:
                here = e.at(e.times(block, LANES * e.rows), e.times(n, e.lanes))
                y = [b.fsub(e.load(rows, e.at(here, j * e.rows)), means[j]) for j in range(columns)]
                total = e.zeros(rows, 1)[0]
                for i in range(columns):
                    z = b.fmul(factors[0, i], y[0])
                    for j in range(1, i + 1):
                        z = e.fused(factors[j, i], y[j], z)
                    total = e.fused(z, z, total)
                half = b.fmul(total, e.constant(total, -0.5))
                e.store_sum(target, e.at(oo_, e.times(block, e.rows), e.times(n, e.lanes)), half, constant_)

            e.each(b.udiv(n_, INT64(e.rows)), lambda block: e.each(e.rows // e.lanes, partial(vector, block)))

        _for_each_width(e, e.arguments[1], widened)

    return emitted((x, INT, INT, shift, INT, factor, INT, numba.types.float64, out, INT), write)


def _narrow(products: bool) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        d: Any,
        joint: Any,
        at: Any,
        scale: Any,
        count: Any,
        shift: Any,
        of: Any,
        moved: Any,
        first: Any,
        second: Any,
        oo: Any,
        width: Any,
    ) -> Any:
        """Add Σ r y and Σ r y yᵀ (or Σ r y²), y = x − μ, of at most 8 columns; return Σ r.

        r = joint · scale, of ``count`` rows. Where the registers hold all sums, one loop takes them. Else rows go
        stretch by stretch: their √r and √r y are written to ``moved``, and read by a loop for each handful of sums.
        """

        def write(e: Emitter) -> Any:
            counts = _for_each_width(e, e.arguments[1], lambda columns: _gather_tile(e, columns, products))
            counted = e.builder.phi(ir.DoubleType())
            for count_, end in counts:
                counted.add_incoming(count_, end)
            return counted

        types = (x, INT, joint, INT, scale, INT, shift, INT, moved, first, second, INT, INT)
        return emitted(types, write, numba.types.float64)

    return block


def _gather_tile(e: Emitter, d: int, products: bool) -> Any:
    """Add the sums of a tile's rows; return Σ r."""
    b, one, two = e.builder, e.pointer(9), e.pointer(10)
    of, oo, width = (e.arguments[i] for i in (7, 11, 12))
    loops = _terms(d, products)
    counted, totals = _gather_at_once(e, d, loops[0]) if len(loops) == 1 else _gather_stretches(e, d, loops)
    for (i, j), vector in zip((term for terms in loops for term in terms), totals, strict=True):
        row = e.times(width, max(i, 0)) if products else INT64(0)
        cell = b.gep(one, [e.at(of, j)]) if i < 0 else b.gep(two, [e.at(oo, row, j)])
        b.store(b.fadd(b.load(cell), e.total(vector)), cell)
    return e.total(counted)


def _gather_at_once(e: Emitter, d: int, terms: list[tuple[int, int]]) -> tuple[Any, list[Any]]:
    """Return vectors of Σ r and of all sums, which stay in registers."""
    means = _means(e, d)

    def step(n: Any, sums: list[Any]) -> list[Any]:
        counted, *totals = sums
        r, y = _row(e, d, means, e.times(n, e.wide))
        weighted = [e.builder.fmul(r, each) for each in y]
        new = [
            e.builder.fadd(total, weighted[j]) if i < 0 else e.fused(weighted[i], y[j], total)
            for (i, j), total in zip(terms, totals, strict=True)
        ]
        return [e.builder.fadd(counted, r), *new]

    sums = e.zeros(e.pointer(8), 1 + len(terms))
    counted, *totals = e.loop(e.builder.udiv(e.arguments[5], INT64(e.wide)), sums, step)
    return counted, totals


def _gather_stretches(e: Emitter, d: int, loops: list[list[tuple[int, int]]]) -> tuple[Any, list[Any]]:
    """Return vectors of Σ r and of all sums, which wait in ``moved`` from stretch to stretch."""
    b, moved, count = e.builder, e.pointer(8), e.arguments[5]
    begins = [(d + 1) * STRETCH + sum(map(len, loops[:n])) * e.wide for n in range(len(loops) + 1)]
    zero = e.zeros(moved, 1)[0]
    for place in range(begins[0], begins[-1], e.wide):
        e.store(moved, INT64(place), zero)

    def stretch(n: Any, counted: list[Any]) -> list[Any]:
        begin = e.times(n, STRETCH)
        left = b.sub(count, begin)
        rows = b.select(b.icmp_signed("<", left, INT64(STRETCH)), left, INT64(STRETCH))
        vectors, total = _move(e, d, begin, rows, counted[0])
        for terms, sums_at in zip(loops, begins, strict=False):
            _gather_terms(e, d, terms, vectors, sums_at)
        return [total]

    counted = e.loop(b.udiv(e.at(count, STRETCH - 1), INT64(STRETCH)), [zero], stretch)[0]
    return counted, [e.load(moved, INT64(place)) for place in range(begins[0], begins[-1], e.wide)]


def _means(e: Emitter, d: int) -> list[Any]:
    b, mu, of = e.builder, e.pointer(6), e.arguments[7]
    return [e.spread(e.converted(b.load(b.gep(mu, [e.at(of, j)])), ir.DoubleType())) for j in range(d)]


def _row(e: Emitter, d: int, means: list[Any], row: Any) -> tuple[Any, list[Any]]:
    """Return r and y of a vector of rows, in the type of sums."""
    b, x, table, scales = e.builder, *(e.pointer(i) for i in (0, 2, 4))
    at, wide = e.arguments[3], ir.DoubleType()
    place = _place(e, row)
    r = b.fmul(e.load(table, e.at(at, row)), e.load(scales, row))
    values = [e.converted(e.load(x, e.at(place, j * e.rows), e.wide), wide) for j in range(d)]
    return r, [b.fsub(value, mean) for value, mean in zip(values, means, strict=True)]


def _terms(d: int, products: bool) -> list[list[tuple[int, int]]]:
    """Return the (i, j) of sums Σ r y_i y_j, y_-1 = 1, loop by loop; i by pairs, so that few values are held."""
    pairs = [(i, j) for i in range(d) for j in range(i, d if products else i + 1)]
    wanted = sorted([*((-1, j) for j in range(d)), *pairs], key=lambda term: ((term[0] + 1) // 2, term[1], term[0]))
    loops = -(-len(wanted) // MOST)
    return [wanted[len(wanted) * n // loops : len(wanted) * (n + 1) // loops] for n in range(loops)]


def _move(e: Emitter, d: int, begin: Any, rows: Any, counted: Any) -> tuple[Any, Any]:
    """Write √r y and √r of a stretch of rows down, but for vectors without a share.

    Return how many vectors there are, and a vector of sums with r added.
    """
    b, moved, means = e.builder, e.pointer(8), _means(e, d)

    def step(n: Any, found: list[Any]) -> list[Any]:
        vectors, total = found
        r, y = _row(e, d, means, e.at(begin, e.times(n, e.wide)))
        root, target = e.sqrt(r), e.times(vectors, e.wide)
        e.store(moved, e.at(target, d * STRETCH), root)
        for j in range(d):
            e.store(moved, e.at(target, j * STRETCH), b.fmul(y[j], root))
        heard = b.fcmp_ordered(">", r, e.constant(r, 0.0))
        some = b.icmp_unsigned("!=", b.bitcast(heard, ir.IntType(e.wide)), ir.IntType(e.wide)(0))
        return [b.add(vectors, b.zext(some, INT64)), b.fadd(total, r)]

    vectors, total = e.loop(b.udiv(rows, INT64(e.wide)), [INT64(0), counted], step)
    return vectors, total


def _gather_terms(e: Emitter, d: int, terms: list[tuple[int, int]], vectors: Any, sums_at: int) -> None:
    """Add products of some columns of a stretch to vectors of sums."""
    moved = e.pointer(8)

    def step(n: Any, sums: list[Any]) -> list[Any]:
        place = e.times(n, e.wide)
        columns = sorted({column for term in terms for column in term})
        roots = {i: e.load(moved, e.at(place, (d if i < 0 else i) * STRETCH)) for i in columns}
        return [e.fused(roots[i], roots[j], total) for (i, j), total in zip(terms, sums, strict=True)]

    places = [INT64(sums_at + n * e.wide) for n in range(len(terms))]
    for place, total in zip(places, e.loop(vectors, [e.load(moved, place) for place in places], step), strict=True):
        e.store(moved, place, total)


narrow = {products: _narrow(products) for products in (True, False)}
