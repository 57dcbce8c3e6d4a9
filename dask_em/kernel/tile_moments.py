"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import GROUP, LANES
from dask_em.kernel.simd import REGISTERS, Emitter, emitted

__all__ = ["dense", "narrow"]

INT = numba.types.int64
INT64 = ir.IntType(64)
WIDTHS = range(1, LANES + 1)
MOST = 24 if REGISTERS >= 32 else 12  # sums that stay in registers


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
        _: Any, d: Any, x: Any, xs: Any, joint: Any, at: Any, scale: Any, groups: Any, shift: Any, of: Any, out: Any
    ) -> Any:
        """Add [Σ r, Σ r y_i, Σ r y_i y_j] (or y_i²), y = x − μ, of at most 8 columns and ``groups`` of 8 rows.

        r = joint · scale; ``x`` is blocks of columns, each (d, rows). Whole tiles: a list of rows would cost more.
        """

        def write(e: Emitter) -> None:
            b = e.builder
            after, none = (b.append_basic_block(name) for name in ("gathered", "none"))
            choice = b.switch(e.arguments[0], none)
            for width in WIDTHS:
                here = b.append_basic_block(f"columns{width}")
                choice.add_case(INT64(width), here)
                b.position_at_end(here)
                for terms in _terms(width, products):
                    _gather_terms(e, terms, width)
                b.branch(after)
            b.position_at_end(none)
            b.unreachable()
            b.position_at_end(after)

        return emitted((INT, x, INT, joint, INT, scale, INT, shift, INT, out), write)

    return block


def _terms(width: int, products: bool) -> list[list[tuple[int, int, int]]]:
    """Return (place, i, j) of sums Σ r y_i y_j, y_-1 = 1, as loops take them: i by pairs, so that few values are held."""
    pairs = [(i, j) for i in range(width) for j in range(i, width if products else i + 1)]
    wanted = [(-1, -1), *((-1, j) for j in range(width)), *pairs]
    placed = [(place, i, j) for place, (i, j) in enumerate(wanted)]
    placed.sort(key=lambda term: ((term[1] + 1) // 2, term[2], term[1]))
    loops = -(-len(placed) // MOST)
    return [placed[len(placed) * n // loops : len(placed) * (n + 1) // loops] for n in range(loops)]


def _gather_terms(e: Emitter, terms: list[tuple[int, int, int]], d: int) -> None:
    """Add r times products of some columns to ``out``, in one loop over the rows."""
    b, rows, table, scales, mu, target = e.builder, *(e.pointer(i) for i in (1, 3, 5, 7, 9))
    stride, at, groups, of = (e.arguments[i] for i in (2, 4, 6, 8))
    wide = ir.DoubleType()  # the type of sums
    means = [e.spread(e.converted(b.load(b.gep(mu, [e.at(of, i)])), wide)) for i in range(d)]

    def step(n: Any, sums: list[Any]) -> list[Any]:
        row = e.times(n, e.wide)
        inside = INT64(e.rows // e.wide)
        place = e.at(e.times(b.udiv(n, inside), stride), e.times(b.urem(n, inside), e.wide))
        r = b.fmul(e.load(table, e.at(at, row)), e.load(scales, row))

        def column(i: int) -> Any:
            return b.fsub(e.converted(e.load(rows, e.at(place, i * e.rows), e.wide), wide), means[i])

        def added() -> list[Any]:
            new, lead, y, of_y = [], {-1: r}, None, -1
            for (_, i, j), total in zip(terms, sums, strict=True):
                if i not in lead:
                    lead[i] = b.fmul(r, column(i))
                if j != of_y:
                    y, of_y = column(j), j
                new.append(b.fadd(total, r) if j < 0 else e.fused(lead[i], y, total))
            return new

        return e.when_any(b.fcmp_ordered(">", r, e.constant(r, 0.0)), added, sums)

    vectors = e.times(groups, LANES // e.wide)
    for (at_, _, _), total in zip(terms, e.loop(vectors, e.zeros(table, len(terms)), step), strict=True):
        place = b.gep(target, [INT64(at_)])
        b.store(b.fadd(b.load(place), e.total(total)), place)


narrow = {products: _narrow(products) for products in (True, False)}
