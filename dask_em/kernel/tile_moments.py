"""Register blocks of the sums over all rows of a tile: where most have a share, a list of rows would cost more.

Conventions are those of :mod:`~dask_em.kernel.moments`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.layout import GROUP, LANES, VECTORS
from dask_em.kernel.simd import Emitter, emitted

__all__ = ["dense", "narrow"]

INT = numba.types.int64
INT64 = ir.IntType(64)
MOST = 24  # sums that stay in registers


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
        """Add [Σ r, Σ r y_i, Σ r y_i y_j] (or y_i²), y = x − μ, of at most 8 columns and groups of 8 rows.

        r = joint · scale; ``x`` is blocks of columns, each (d, rows). Whole tiles: a list of rows would cost more.
        """

        def write(e: Emitter) -> None:
            b = e.builder
            after, none = (b.append_basic_block(name) for name in ("gathered", "none"))
            choice = b.switch(e.arguments[0], none)
            for width in range(1, LANES + 1):
                here = b.append_basic_block(f"columns{width}")
                choice.add_case(INT64(width), here)
                b.position_at_end(here)
                pairs = [(i, j) for i in range(width) for j in range(i, width if products else i + 1)]
                terms: list[tuple[int, ...]] = [(), *((i,) for i in range(width)), *pairs]
                for begin in range(0, len(terms), MOST):
                    _gather_terms(e, terms[begin : begin + MOST], begin)
                b.branch(after)
            b.position_at_end(none)
            b.unreachable()
            b.position_at_end(after)

        return emitted((INT, x, INT, joint, INT, scale, INT, shift, INT, out), write)

    return block


def _gather_terms(e: Emitter, terms: list[tuple[int, ...]], begin: int) -> None:
    """Add r times products of some columns to ``out`` from ``begin`` on, in one loop over the rows."""
    b, rows, table, scales, mu, target = e.builder, *(e.pointer(i) for i in (1, 3, 5, 7, 9))
    stride, at, groups, of = (e.arguments[i] for i in (2, 4, 6, 8))
    tall, wide = VECTORS * e.lanes, ir.DoubleType()  # rows of a block; sums are of float64
    columns, leads = ({i for term in terms for i in term[:n]} for n in (2, 1))
    means = {i: e.spread(e.converted(b.load(b.gep(mu, [e.at(of, i)])), wide)) for i in columns}

    def step(n: Any, sums: list[Any]) -> list[Any]:
        row = e.times(n, LANES)
        inside = INT64(tall // LANES)
        place = e.at(e.times(b.udiv(n, inside), stride), e.times(b.urem(n, inside), LANES))
        r = b.fmul(e.load(table, e.at(at, row)), e.load(scales, row))

        def added() -> list[Any]:
            x = {i: e.converted(e.load(rows, e.at(place, i * tall), LANES), wide) for i in columns}
            y = {i: b.fsub(x[i], means[i]) for i in columns}
            first = {i: b.fmul(r, y[i]) for i in leads}
            return [
                e.fused(first[term[0]], y[term[1]], total)
                if len(term) == 2
                else b.fadd(total, first[term[0]] if term else r)
                for term, total in zip(terms, sums, strict=True)
            ]

        return e.when_any(b.fcmp_ordered(">", r, e.constant(r, 0.0)), added, sums)

    for i, total in enumerate(e.loop(groups, e.zeros(table, len(terms)), step)):
        place = b.gep(target, [e.at(begin + i)])
        b.store(b.fadd(b.load(place), e.total(total)), place)


narrow = {products: _narrow(products) for products in (True, False)}
