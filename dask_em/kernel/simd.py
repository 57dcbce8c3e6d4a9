"""Vector instructions for the compiled kernel, written in LLVM's language for whichever CPU compiles them.

numba's own vectoriser keeps no block of sums in registers; a loop of :meth:`Emitter.loop` does, as the innermost loop
of a matrix product must. Blocks are as large as the registers of the CPU that numba compiles for: sums that did not fit
would be written to memory and read again in each step (7 x slower where blocks for AVX-512 were split for AVX2).
Sums run in the order of the loop, without reassociation: the same bits on the same kind of CPU.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, codegen, config

from dask_em.kernel.layout import BYTES, VECTORS

__all__ = ["HIGH", "NATIVE", "REGISTERS", "TALL", "Emitter", "emitted"]

Value = Any  # of llvmlite, which has no types
INT = ir.IntType(64)


def _registers() -> tuple[int, int]:
    """Return how many vectors the CPU holds that numba compiles for, and the bytes of one."""
    if platform.machine().lower() not in {"x86_64", "amd64", "i386", "i686"}:
        return 32, 16  # NEON and its like
    told = codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    features = told.split(",")
    return (32, 64) if "+avx512f" in features else (16, 32 if "+avx" in features else 16)


REGISTERS, NATIVE = _registers()
TALL, HIGH = (6, 8) if REGISTERS >= 32 else (3, 4)  # vectors of rows by 4 sums; columns by 3 vectors of columns


class Emitter:
    """What the loops below are written with: loads, products and a loop with sums that stay in registers.

    The first array is of the type computed in; ``lanes`` of it are a vector, and ``wide`` of float64;
    columns are padded to ``unit``, and ``rows`` are a block.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Sequence[Value], nbytes: int) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments
        size = next(int(kind.dtype.bitwidth) // 8 for kind in signature.args if hasattr(kind, "dtype"))
        self.lanes, self.wide, self.unit = nbytes // size, nbytes // 8, BYTES // size
        self.rows = VECTORS * self.unit

    def pointer(self, argument: int) -> Value:
        """Return where an array's data begins."""
        array = self.context.make_array(self.signature.args[argument])
        return array(self.context, self.builder, self.arguments[argument]).data

    def at(self, *terms: Any) -> Value:
        """Return the sum of offsets, numbers or values."""
        total = INT(0)
        for term in terms:
            total = self.builder.add(total, INT(term) if isinstance(term, int) else term)
        return total

    def times(self, a: Value, b: Any) -> Value:
        """Return a product of offsets."""
        return self.builder.mul(a, INT(b) if isinstance(b, int) else b)

    def load(self, base: Value, offset: Value, lanes: int = 0) -> Value:
        """Load a vector."""
        vector = ir.VectorType(base.type.pointee, lanes or self._lanes_of(base.type.pointee))
        loaded = self.builder.load(self.builder.bitcast(self.builder.gep(base, [offset]), vector.as_pointer()))
        loaded.align = 4
        return loaded

    def _lanes_of(self, element: Any) -> int:
        return self.wide if element == ir.DoubleType() else self.lanes

    def store(self, base: Value, offset: Value, vector: Value) -> None:
        """Store a vector."""
        target = self.builder.bitcast(self.builder.gep(base, [offset]), vector.type.as_pointer())
        self.builder.store(vector, target).align = 4

    def spread(self, scalar: Value, lanes: int = 0) -> Value:
        """Return a vector with a scalar in every lane."""
        lanes = lanes or self._lanes_of(scalar.type)
        undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))

    def spread_at(self, base: Value, offset: Value) -> Value:
        """Load a scalar into every lane."""
        return self.spread(self.builder.load(self.builder.gep(base, [offset])))

    def prefetch(self, base: Value, offset: Value) -> None:
        """Ask for what will be loaded soon."""
        byte = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        place = self.builder.bitcast(self.builder.gep(base, [offset]), byte)
        call = cgutils.get_or_insert_function(self.builder.module, function, "llvm.prefetch.p0")
        self.builder.call(call, [place, number(0), number(3), number(1)])

    def constant(self, like: Value, number: float) -> Value:
        """Return a vector of one number."""
        return ir.Constant(like.type, [number] * like.type.count)

    def zeros(self, base: Value, count: int) -> list[Value]:
        """Return sums to begin with, of the elements of ``base``."""
        vector = ir.VectorType(base.type.pointee, self._lanes_of(base.type.pointee))
        return [ir.Constant(vector, None)] * count

    def fused(self, a: Value, b: Value, c: Value) -> Value:
        """Return a b + c, rounded once where the CPU can."""
        kind = {ir.DoubleType(): "f64", ir.FloatType(): "f32"}[a.type.element]
        function = ir.FunctionType(a.type, [a.type] * 3)
        name = f"llvm.fmuladd.v{a.type.count}{kind}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), [a, b, c])

    def each(self, count: Any, body: Callable[[Value], None]) -> None:
        """Run ``body(i)`` for i from 0 to ``count``."""

        def once(i: Value, _: list[Value]) -> list[Value]:
            body(i)
            return []

        self.loop(self.at(count), [], once)

    def loop(self, stop: Value, sums: list[Value], body: Callable[[Value, list[Value]], list[Value]]) -> list[Value]:
        """Run ``sums = body(i, sums)`` for i from 0 to ``stop``."""
        builder = self.builder
        before = builder.block
        head, inner, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(INT)
        i.add_incoming(INT(0), before)
        phis = [builder.phi(value.type) for value in sums]
        for phi, value in zip(phis, sums, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", i, stop), inner, after)
        builder.position_at_end(inner)
        results = body(i, phis)
        builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "", side_effect=True), [])  # not unrolled
        i.add_incoming(builder.add(i, INT(1)), builder.block)
        for phi, value in zip(phis, results, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return phis

    def accumulate(self, base: Value, offset: Value, vector: Value) -> None:
        """Add a vector to memory of float64."""
        for part, piece in self.widened(vector):
            place = self.at(offset, part)
            self.store(base, place, self.builder.fadd(self.load(base, place), piece))

    def store_sum(self, base: Value, offset: Value, vector: Value, scalar: Value) -> None:
        """Write a vector plus a scalar to memory of float64."""
        for part, piece in self.widened(vector):
            self.store(base, self.at(offset, part), self.builder.fadd(piece, self.spread(scalar)))

    def widened(self, vector: Value) -> list[tuple[int, Value]]:
        """Return a vector as vectors of float64, and where in it each begins."""
        if vector.type.element == ir.DoubleType():
            return [(0, vector)]
        undefined, pieces = ir.Constant(vector.type, ir.Undefined), []
        for begin in range(0, vector.type.count, self.wide):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), self.wide), list(range(begin, begin + self.wide)))
            lanes = self.builder.shuffle_vector(vector, undefined, mask)
            pieces.append((begin, self.builder.fpext(lanes, ir.VectorType(ir.DoubleType(), self.wide))))
        return pieces

    def converted(self, vector: Value, element: Any) -> Value:
        """Return a vector of floats, or one, in another precision."""
        single = not isinstance(vector.type, ir.VectorType)
        have = vector.type if single else vector.type.element
        if have == element:
            return vector
        cast = self.builder.fpext if have == ir.FloatType() else self.builder.fptrunc
        return cast(vector, element if single else ir.VectorType(element, vector.type.count))

    def transposed(self, rows: list[Value]) -> list[Value]:
        """Return as many vectors as each has lanes, transposed: elements change places, then pairs, then fours."""
        count, step = len(rows), 1
        while step < count:
            for i in range(count):
                if not i & step:
                    a, b = rows[i], rows[i + step]
                    first = [n + count - step if n & step else n for n in range(count)]
                    second = [n + count if n & step else n + step for n in range(count)]
                    masks = (ir.Constant(ir.VectorType(ir.IntType(32), count), mask) for mask in (first, second))
                    rows[i], rows[i + step] = (self.builder.shuffle_vector(a, b, mask) for mask in masks)
            step *= 2
        return rows

    def sum_of(self, vectors: list[Value]) -> Value:
        """Return the sum of 1, 2, 4, … vectors, by pairs."""
        while len(vectors) > 1:
            vectors = [self.builder.fadd(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        return vectors[0]

    def total(self, vector: Value) -> Value:
        """Return the sum of a vector's lanes, halves first."""
        b, count = self.builder, vector.type.count
        while count > 1:
            count //= 2
            places = [ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(i, i + count))) for i in (0, count)]
            vector = b.fadd(*(b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), at) for at in places))
        return b.extract_element(vector, ir.IntType(32)(0))

    def sqrt(self, vector: Value) -> Value:
        """Return square roots of float64."""
        function = ir.FunctionType(vector.type, [vector.type])
        name = f"llvm.sqrt.v{vector.type.count}f64"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), [vector])

    def number_set(self, masks: list[Value]) -> Value:
        """Return how many lanes of some masks are set."""
        b, bits = self.builder, INT(0)
        for mask in masks:
            lanes = b.zext(b.bitcast(mask, ir.IntType(mask.type.count)), INT)
            bits = b.or_(b.shl(bits, INT(mask.type.count)), lanes)
        return b.ctpop(bits)

    def when_any(self, mask: Value, write: Callable[[], list[Value]], otherwise: list[Value]) -> list[Value]:
        """Return what ``write`` gives where a lane of the mask is set, else ``otherwise``, without doing the work."""
        builder = self.builder
        bits = builder.bitcast(mask, ir.IntType(mask.type.count))
        before = builder.block
        inner, after = (builder.append_basic_block(name) for name in ("some", "after"))
        builder.cbranch(builder.icmp_unsigned("!=", bits, bits.type(0)), inner, after)
        builder.position_at_end(inner)
        values = write()
        end = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        phis = [builder.phi(value.type) for value in values]
        for phi, value, other in zip(phis, values, otherwise, strict=True):
            phi.add_incoming(other, before)
            phi.add_incoming(value, end)
        return phis


def emitted(
    types: Sequence[Any], write: Callable[[Emitter], Value], returns: Any = numba.types.void, nbytes: int = 0
) -> tuple[Any, Any]:
    """Return what an intrinsic returns: a signature, and what writes its instructions; ``nbytes`` of a vector."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Value]) -> Value:
        value = write(Emitter(context, builder, signature, arguments, nbytes or NATIVE))
        return context.get_dummy_value() if value is None else value

    return returns(*types), generate
