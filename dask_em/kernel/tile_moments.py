"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import GROUP, LANES, STRETCH
from dask_em.kernel.simd import REGISTERS, Emitter, emitted

__all__ = ["dense", "narrow"]

INT = numba.types.int64
INT64 = ir.IntType(64)
MOST = 24 if REGISTERS >= 32 else 11  # sums that stay in registers


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


def _narrow(products: bool) -> Any:
    @intrinsic
    def block(
        _: Any,
        x: Any,
        d: Any,
        xs: Any,
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

        r = joint · scale, of ``count`` rows; ``x`` is blocks of columns, each (xs / rows, rows). Rows go stretch by
        stretch: their √r and √r y are written to ``moved`` once, and read by a loop for each handful of sums.
        """

        def write(e: Emitter) -> Any:
            b = e.builder
            after, none = (b.append_basic_block(name) for name in ("gathered", "none"))
            choice, counts = b.switch(e.arguments[1], none), []
            for columns in range(1, LANES + 1):
                here = b.append_basic_block(f"columns{columns}")
                choice.add_case(INT64(columns), here)
                b.position_at_end(here)
                counts.append((_gather_tile(e, columns, products), b.block))
                b.branch(after)
            b.position_at_end(none)
            b.unreachable()
            b.position_at_end(after)
            counted = b.phi(ir.DoubleType())
            for count_, end in counts:
                counted.add_incoming(count_, end)
            return counted

        types = (x, INT, INT, joint, INT, scale, INT, shift, INT, moved, first, second, INT, INT)
        return emitted(types, write, numba.types.float64)

    return block


def _gather_tile(e: Emitter, d: int, products: bool) -> Any:
    b, moved, one, two = e.builder, e.pointer(9), e.pointer(10), e.pointer(11)
    count, of, oo, width = (e.arguments[i] for i in (6, 8, 12, 13))
    loops = _terms(d, products)
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
    for n, (i, j) in enumerate(term for terms in loops for term in terms):
        total = e.total(e.load(moved, INT64(begins[0] + n * e.wide)))
        row = e.times(width, max(i, 0)) if products else INT64(0)
        cell = b.gep(one, [e.at(of, j)]) if i < 0 else b.gep(two, [e.at(oo, row, j)])
        b.store(b.fadd(b.load(cell), total), cell)
    return e.total(counted)


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
    b, x, table, scales, mu, moved = e.builder, *(e.pointer(i) for i in (0, 3, 5, 7, 9))
    xs, at, of = (e.arguments[i] for i in (2, 4, 8))
    wide = ir.DoubleType()  # the type of sums
    means = [e.spread(e.converted(b.load(b.gep(mu, [e.at(of, j)])), wide)) for j in range(d)]

    def step(n: Any, found: list[Any]) -> list[Any]:
        vectors, total = found
        row = e.at(begin, e.times(n, e.wide))
        block, inside = b.udiv(row, INT64(e.rows)), b.urem(row, INT64(e.rows))
        place, target = e.at(e.times(block, xs), inside), e.times(vectors, e.wide)
        r = b.fmul(e.load(table, e.at(at, row)), e.load(scales, row))
        root = e.sqrt(r)
        e.store(moved, e.at(target, d * STRETCH), root)
        for j in range(d):
            value = e.converted(e.load(x, e.at(place, j * e.rows), e.wide), wide)
            e.store(moved, e.at(target, j * STRETCH), b.fmul(b.fsub(value, means[j]), root))
        heard = b.fcmp_ordered(">", r, e.constant(r, 0.0))
        some = b.icmp_unsigned("!=", b.bitcast(heard, ir.IntType(e.wide)), ir.IntType(e.wide)(0))
        return [b.add(vectors, b.zext(some, INT64)), b.fadd(total, r)]

    vectors, total = e.loop(b.udiv(rows, INT64(e.wide)), [INT64(0), counted], step)
    return vectors, total


def _gather_terms(e: Emitter, d: int, terms: list[tuple[int, int]], vectors: Any, sums_at: int) -> None:
    """Add products of some columns of a stretch to vectors of sums."""
    moved = e.pointer(9)

    def step(n: Any, sums: list[Any]) -> list[Any]:
        place = e.times(n, e.wide)
        columns = sorted({column for term in terms for column in term})
        roots = {i: e.load(moved, e.at(place, (d if i < 0 else i) * STRETCH)) for i in columns}
        return [e.fused(roots[i], roots[j], total) for (i, j), total in zip(terms, sums, strict=True)]

    places = [INT64(sums_at + n * e.wide) for n in range(len(terms))]
    for place, total in zip(places, e.loop(vectors, [e.load(moved, place) for place in places], step), strict=True):
        e.store(moved, place, total)


narrow = {products: _narrow(products) for products in (True, False)}
