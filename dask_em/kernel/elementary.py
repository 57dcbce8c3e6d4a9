"""exp and log of vectors of float64, as instructions that a loop holds in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from dask_em.kernel.simd import Emitter

__all__ = ["exp", "log"]

INT64 = ir.IntType(64)
LOG2E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # their sum is log 2; the first has 32 bits
TAIL = (  # (eʳ − 1 − r) / r², the minimax polynomial for |r| ≤ log 2 / 2 by Remez's exchange: eʳ to 4e-18
    0.5000000000000011,
    0.16666666666666413,
    0.041666666666530267,
    0.008333333333494335,
    0.001388888894359742,
    0.00019841269506772164,
    2.4801493136433562e-05,
    2.7557586275084822e-06,
    2.7630233844767376e-07,
    2.500006905552792e-08,
)
MAGIC = 1.5 * 2.0**52  # adding it rounds to an integer and leaves that in the low bits
EXPONENT = 52
ROOT2 = 1.4142135623730951


def exp(e: Emitter, x: Any) -> Any:
    """Return exp of float64, to 1 ulp for |x| < 700 (Cody and Waite 1980: x = n log 2 + r).

    Even and odd powers go side by side: each step waits for the last.
    """
    b = e.builder
    shifted = e.fused(x, e.constant(x, LOG2E), e.constant(x, MAGIC))
    n = b.fsub(shifted, e.constant(x, MAGIC))
    r = e.fused(n, e.constant(x, -LN2_LOW), e.fused(n, e.constant(x, -LN2_HIGH), x))
    square = b.fmul(r, r)
    even, odd = (e.constant(x, number) for number in TAIL[-2:])
    for low, high in zip(TAIL[-4::-2], TAIL[-3::-2], strict=True):
        even = e.fused(even, square, e.constant(x, low))
        odd = e.fused(odd, square, e.constant(x, high))
    value = b.fadd(e.fused(e.fused(odd, r, even), square, r), e.constant(x, 1.0))
    whole = ir.VectorType(INT64, x.type.count)
    bits = b.shl(b.bitcast(shifted, whole), ir.Constant(whole, [EXPONENT] * x.type.count))
    return b.bitcast(b.add(b.bitcast(value, whole), bits), x.type)


def log(e: Emitter, x: Any) -> Any:
    """Return log of float64 ≥ 1, to 1e-16 of max(1, the logarithm): x = 2ⁿ m, log m = 2 artanh((m − 1)/(m + 1))."""
    b, count = e.builder, x.type.count
    whole = ir.VectorType(INT64, count)

    def integers(number: int) -> Any:
        return ir.Constant(whole, [number] * count)

    bits = b.bitcast(x, whole)
    n = b.sub(b.lshr(bits, integers(EXPONENT)), integers(1023))
    m = b.bitcast(b.sub(bits, b.shl(n, integers(EXPONENT))), x.type)
    large = b.fcmp_ordered(">", m, e.constant(x, ROOT2))
    m = b.select(large, b.fmul(m, e.constant(x, 0.5)), m)
    n = b.select(large, b.add(n, integers(1)), n)
    one = e.constant(x, 1.0)
    s = b.fdiv(b.fsub(m, one), b.fadd(m, one))
    square = b.fmul(s, s)
    series = e.constant(x, 1 / 23)
    for power in range(21, 0, -2):
        series = e.fused(series, square, e.constant(x, 1 / power))
    series = b.fmul(b.fadd(s, s), series)
    n = b.sitofp(n, x.type)
    return e.fused(n, e.constant(x, LN2_HIGH), e.fused(n, e.constant(x, LN2_LOW), series))
