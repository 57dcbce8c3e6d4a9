"""Register blocks of log-densities with their squares expanded: −½ s (x − μ)² = −½ s μ² + s μ x − ½ s x².

They take one product for each value and component where |x|² is known, two where scales differ by column. That costs
digits where a component is narrow and far from the frame's origin: only accurate forms are expanded, in float64. (Types
are converted since all is compiled for float32 too.) Squares have room: pass 0 refuses larger values.
Conventions are those of :mod:`~dask_em.kernel.densities`.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

from dask_em.kernel.densities import BROAD, parts
from dask_em.kernel.layout import GROUP
from dask_em.kernel.simd import TALL, Emitter, emitted

__all__ = ["affine", "features", "lengths", "linear", "quadratic"]

INT = numba.types.int64
SEVERAL = 6  # vectors of rows


@intrinsic
def lengths(_: Any, x: Any, count: Any, out: Any, oo: Any) -> Any:
    """Write Σ_j x_j² of a block of rows, (count, rows)."""

    def write(e: Emitter) -> None:
        rows, target = e.pointer(0), e.pointer(2)
        count_, oo_ = (e.arguments[i] for i in (1, 3))

        def part(begin: Any) -> None:
            def step(j: Any, sums: list[Any]) -> list[Any]:
                here = e.at(e.times(j, e.rows), begin)
                values = [e.load(rows, e.at(here, e.lanes * v)) for v in range(TALL)]
                return [e.fused(value, value, total) for value, total in zip(values, sums, strict=True)]

            for v, total in enumerate(e.loop(count_, e.zeros(rows, TALL), step)):
                for at, piece in e.widened(total):
                    e.store(target, e.at(oo_, begin, e.lanes * v, at), piece)

        parts(e, part)

    return emitted((x, INT, out, INT), write)


def _part(e: Emitter, begin: Any, squares: bool, tall: int) -> list[Any]:
    """Return Σ_j (a_kj x_j + b_kj x_j²), or its first half, for 4 components k of some vectors of rows."""
    rows, slopes, bends = (e.pointer(i) for i in (0, 1, 3))
    slopes_at, bends_at, count = (e.arguments[i] for i in (2, 4, 5))

    def step(j: Any, sums: list[Any]) -> list[Any]:
        here = e.at(e.times(j, e.rows), begin)
        values, new = [e.load(rows, e.at(here, e.lanes * v)) for v in range(tall)], []
        for k in range(GROUP):
            slope = e.spread_at(slopes, e.at(slopes_at, e.times(j, GROUP), k))
            bend = e.spread_at(bends, e.at(bends_at, e.times(j, GROUP), k)) if squares else None
            for v in range(tall):
                rise = slope if bend is None else e.fused(bend, values[v], slope)
                new.append(e.fused(rise, values[v], sums[k * tall + v]))
        return new

    return e.loop(count, e.zeros(rows, GROUP * tall), step)


def _expanded(squares: bool) -> Any:
    tall = BROAD if squares else TALL

    @intrinsic
    def block(
        _: Any,
        x: Any,
        slope: Any,
        so: Any,
        bend: Any,
        bo: Any,
        count: Any,
        constant: Any,
        co: Any,
        length: Any,
        row: Any,
        out: Any,
        oo: Any,
        stride: Any,
    ) -> Any:
        """Write c_k + Σ_j (a_kj x_j + b_kj x_j²), for 4 components k of a block of rows.

        ``x`` is (count, rows), ``slope`` a, (count, 4). With ``squares``, ``bend`` is b, (count, 4); else it is (4,),
        and Σ_j x_j² is known.
        """

        def write(e: Emitter) -> None:
            bends, constants, known, target = (e.pointer(i) for i in (3, 6, 8, 10))
            bo_, co_, row_, oo_, stride_ = (e.arguments[i] for i in (4, 7, 9, 11, 12))

            def part(begin: Any) -> None:
                for n, total in enumerate(_part(e, begin, squares, tall)):
                    k, v = divmod(n, tall)
                    for at, piece in e.widened(total):
                        here = e.at(begin, e.lanes * v, at)
                        value = e.builder.fadd(piece, e.spread_at(constants, e.at(co_, k)))
                        if not squares:
                            factor = e.builder.load(e.builder.gep(bends, [e.at(bo_, k)]))
                            factor = e.spread(e.converted(factor, ir.DoubleType()))
                            value = e.fused(factor, e.load(known, e.at(row_, here)), value)
                        e.store(target, e.at(oo_, e.times(stride_, k), here), value)

            parts(e, part, tall=tall)

        return emitted((x, slope, INT, bend, INT, INT, constant, INT, length, INT, out, INT, INT), write)

    return block


quadratic, linear = (_expanded(squares) for squares in (True, False))


@intrinsic
def features(_: Any, x: Any, d: Any, out: Any, oo: Any) -> Any:
    """Write x_j, then x_i x_j of the upper triangle row by row, for a block of rows, (·, rows) both."""

    def write(e: Emitter) -> None:
        b, rows, target = e.builder, e.pointer(0), e.pointer(2)
        d_, oo_ = e.arguments[1], e.arguments[3]
        every = [v * e.lanes for v in range(SEVERAL)]

        def stretch(n: Any) -> None:
            begin = e.times(n, SEVERAL * e.lanes)

            def column(j: Any) -> list[Any]:
                return [e.load(rows, e.at(e.times(j, e.rows), begin, v)) for v in every]

            def written(feature: Any, values: list[Any]) -> None:
                for v, value in zip(every, values, strict=True):
                    e.store(target, e.at(oo_, e.times(feature, e.rows), begin, v), value)

            def row(i: Any, place: list[Any]) -> list[Any]:
                left = column(i)
                written(i, left)

                def pair(j: Any, _: list[Any]) -> list[Any]:
                    right = column(e.at(i, j))
                    products = [b.fmul(one, other) for one, other in zip(left, right, strict=True)]
                    written(e.at(place[0], j), products)
                    return []

                count = b.sub(d_, i)
                e.loop(count, [], pair)
                return [e.at(place[0], count)]

            e.loop(d_, [d_], row)

        e.each(e.rows // (SEVERAL * e.lanes), stretch)

    return emitted((x, INT, out, INT), write)


@intrinsic
def affine(
    _: Any, x: Any, xo: Any, count: Any, slope: Any, constant: Any, groups: Any, out: Any, oo: Any, stride: Any
) -> Any:
    """Write c_k + Σ_j a_kj x_j of a block of rows, for ``groups`` of 4 components: x (count, rows), a (·, count, 4)."""

    def write(e: Emitter) -> None:
        b, rows, slopes, constants, target = e.builder, *(e.pointer(i) for i in (0, 3, 4, 6))
        xo_, count_, groups_, oo_, stride_ = (e.arguments[i] for i in (1, 2, 5, 7, 8))

        def part(begin: Any) -> None:
            def four(group: Any) -> None:
                k = e.times(group, GROUP)
                slopes_at = e.times(k, count_)

                def step(j: Any, sums: list[Any]) -> list[Any]:
                    here = e.at(xo_, e.times(j, e.rows), begin)
                    values, new = [e.load(rows, e.at(here, e.lanes * v)) for v in range(TALL)], []
                    for i in range(GROUP):
                        a = e.spread_at(slopes, e.at(slopes_at, e.times(j, GROUP), i))
                        new += [e.fused(a, value, sums[i * TALL + v]) for v, value in enumerate(values)]
                    return new

                for n, total in enumerate(e.loop(count_, e.zeros(rows, GROUP * TALL), step)):
                    i, v = divmod(n, TALL)
                    constant_ = b.load(b.gep(constants, [e.at(k, i)]))
                    e.store_sum(target, e.at(oo_, e.times(stride_, e.at(k, i)), begin, e.lanes * v), total, constant_)

            e.each(groups_, four)

        parts(e, part)

    return emitted((x, INT, INT, slope, constant, INT, out, INT, INT), write)
