"""Atoms into blocks, tiles and a tree; memory, tasks and bytes foretold before anything runs.

A plan is a pure function of the data's layout and the model's size, with committed constants: never of the machine,
the cluster or a clock. That is what makes identical bits possible.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from dask_em.errors import InputError
from dask_em.reduction import ARITY, staying, tree
from dask_em.storage.blocks import AHEAD, Block, Layout, pieces_of
from dask_em.storage.source import Atom, Source

__all__ = ["ModelSize", "Plan", "plan"]

MEBIBYTE = 2**20
BLOCK_BYTES = 256 * MEBIBYTE
BLOCK_BYTES_MOST = 4096 * MEBIBYTE
BLOCKS_MOST = 32_768  # or thereabouts: whole atoms do not always fit
BLOCK_SECONDS = 10.0  # at most about so much work of one core
BLOCK_WORTH, BLOCKS_EASY = 2e-2, 64  # seconds: more blocks, while each has so much work
SUMS_WORTH = 2e-8  # seconds a byte of its statistics: to clear, lay out and add them takes a twentieth of that
BLOCK_ROWS, BLOCK_PAYS = 65_536, 2e-3  # or so many rows; and, of rows in memory, work: each costs 0.3 ms beside it
BLOCKS_LEAST, BLOCK_LEAST = 8, 2_048  # blocks, and rows of one: five blocks on two workers would split 3:2
LAID_OUT = 6  # times the statistics: sums and factors as the compiled kernel wants them, padded
TILE_BYTES, TILE_LEAST, TILE_MOST = 4 * MEBIBYTE, 768, 6_144  # features of a tile stay near the L2 cache; 96 divides it
SECONDS_A_PRODUCT, SECONDS_A_COMPONENT = 4e-11, 4e-9  # of one core and one row, in the compiled kernel, float64
SLAB_BYTES, SLAB_ROWS = 16 * MEBIBYTE, 65_536  # of narrow rows more, up to a quarter of these bytes
# Storage units that a thread holds while it reads: one computed with, one that waits, one being decoded from its bytes.
# What is freed goes back to the system where it is as large as MAPPED; smaller, the threads that decode keep it.
# Measured, 16 columns of float32: 3.0 units of 61 MiB, 6.5 of 31 MiB, 6.7 of 16 MiB, 12 of those over 40 GB.
ATOMS_READ, ATOMS_KEPT, MAPPED = 4, 13, 32 * MEBIBYTE
KEPT_LEAST = 24 * MEBIBYTE  # of that, however small the units; measured, 1 MiB each: 18 MiB
REFINING_PAYS = 5  # times the rows of the larger sample: with fewer, passes over all rows cost as little
SAMPLES = 5  # where the last two of pass 0 are joined and put in order; measured, 64 columns: 4.2
OFTEN, TOLD_FROM = 1.5, 64 * MEBIBYTE  # decoded so many times, so much a pass: people are told
LISTED = 6  # blocks, before people are shown the last one


@dataclass(frozen=True)
class ModelSize:
    """How large the models of a pass are."""

    components: int  # k, summed over the models
    products: int  # P, features of a row in the product form
    form: str = "product"  # of the kernel, for people
    sample_rows: int = 0  # that pass 0 gathers for the starts
    refining_rows: int = 0  # or, of many rows, so many: the fit of the first ones goes on over them
    apart: bool = False  # whether rows are held out: a slab is then copied as two

    @staticmethod
    def together(sizes: Sequence[ModelSize], apart: bool = False) -> ModelSize:
        """Return the size of models that share each read: their sums and their work added up."""
        if len(sizes) == 1:
            return dataclasses.replace(sizes[0], apart=apart)
        most = max(size.products for size in sizes)
        components = -(-sum(size.components * size.products for size in sizes) // most)
        return ModelSize(
            components,
            most,
            sizes[0].form,
            max(size.sample_rows for size in sizes),
            max(size.refining_rows for size in sizes),
            apart,
        )

    def sampled(self, rows: int) -> int:
        """Return how many of all rows the sample of pass 0 holds."""
        return max(self.sample_rows, self.refining_rows if rows >= REFINING_PAYS * self.refining_rows else 0)

    @property
    def statistics_bytes(self) -> int:
        """Bytes of the expected statistics."""
        return 8 * self.components * self.products

    @property
    def tile_rows(self) -> int:
        """Rows of one matrix product: the same for every number of components, so that models can share a tile."""
        tile = TILE_LEAST
        while tile < TILE_MOST and 2 * tile * self.products * 8 <= TILE_BYTES:
            tile *= 2
        return tile

    def seconds(self, rows: int) -> float:
        """Return about how long one core takes for one pass."""
        return rows * self.components * (SECONDS_A_PRODUCT * self.products + SECONDS_A_COMPONENT)

    def flops(self, rows: int) -> float:
        """Return the floating-point operations of one pass: two matrix products."""
        return 4.0 * rows * self.components * self.products


@dataclass(frozen=True, repr=False)
class Plan:
    """What will happen: a layout, and what it costs. ``print(plan)`` tells it."""

    layout: Layout
    size: ModelSize

    @property
    def tasks(self) -> int:
        """Tasks of one pass, at most: blocks and the tree that adds them up. Few workers take small blocks together."""
        blocks = len(self.layout.blocks)
        return blocks + sum(len(level) for level in tree(blocks))

    @property
    def bytes_per_pass(self) -> int:
        """Bytes decoded in one pass."""
        return self.layout.nbytes

    @property
    def memory_bytes(self) -> int:
        """Peak bytes of one worker thread, beside the interpreter and its libraries: an upper bound."""
        size, layout = self.size, self.layout
        atom, rows = self._atom_bytes, max((block.rows for block in layout.blocks), default=0)
        slabs = (AHEAD + 2 + size.apart) * min(layout.slab_rows, rows) * layout.row_nbytes
        tile = 8 * min(layout.tile_rows, rows) * (size.products + 4 * size.components + 24)
        statistics = (ARITY + 2 + LAID_OUT) * size.statistics_bytes
        kept = max(KEPT_LEAST, ATOMS_KEPT * min(atom, MAPPED))
        reading = max(kept, ATOMS_READ * atom) + max(statistics, self._sample_bytes)
        joining = (kept if atom < MAPPED else KEPT_LEAST) + SAMPLES * self._sample_bytes  # those of blocks, in pass 0
        return slabs + tile + max(reading, joining)

    @property
    def _atom_bytes(self) -> int:
        return max((piece.nbytes for block in self.layout.blocks for piece in block.pieces), default=0)

    @property
    def _sample_bytes(self) -> int:
        columns = self.layout.source.schema.features + 3  # and weights, numbers and hashes
        return 8 * min(self.size.sampled(self.layout.rows), self.layout.rows) * columns

    def require_memory(self, given: float | None, remedy: str) -> None:
        """Refuse what does not fit the bytes that a worker thread has, if that is known.

        Raises
        ------
        InputError
            With both numbers, and the remedy.
        """
        if given is None or self.memory_bytes <= given:
            return
        pieces = [piece for block in self.layout.blocks for piece in block.pieces]
        largest = max(pieces, key=lambda piece: piece.nbytes)
        smaller = ", or store the data in smaller chunks" if ATOMS_READ * largest.nbytes > given / 2 else ""
        raise InputError(
            f"a pass over {self.layout.source.name} needs {_size(self.memory_bytes)} for each worker thread, which has "
            f"{_size(given)} beside what its process takes (the largest storage unit, {largest.atom.place}, takes "
            f"{_size(largest.nbytes)} once decoded; the sums of a block take {_size(self.size.statistics_bytes)}, the "
            f"sample that the fit begins with {_size(self._sample_bytes)}). {remedy}{smaller}"
        )

    @property
    def digest(self) -> str:
        """Equal for equal plans: the order and form of every sum."""
        layout = self.layout
        cuts = [(p.atom.rows, p.start, p.stop) for block in layout.blocks for p in block.pieces]
        firsts = [block.first for block in layout.blocks]
        return hashlib.sha256(repr((layout.tile_rows, layout.slab_rows, ARITY, firsts, cuts)).encode()).hexdigest()

    def sentences(self) -> list[str]:
        """Tell a person what one pass does."""
        layout, size, schema = self.layout, self.size, self.layout.source.schema
        units = {piece.atom.place: piece.atom.nbytes for block in layout.blocks for piece in block.pieces}
        blocks, times = len(layout.blocks), self.bytes_per_pass / max(1, sum(units.values()))
        smaller = f" Each unit is decoded {times:.1f} times: store the rows in smaller ones (row groups, chunks)."
        rows = f"{_count(layout.rows, 'row')} of {_count(schema.features, 'column')} ({schema.dtype})"
        cut = f"{_count(blocks, 'block')} of about {_count(round(layout.rows / blocks), 'row')}"
        tiles = f"in tiles of {layout.tile_rows:,} rows ({size.form} form, {size.products:,} features a row)"
        return [
            f"Data: {layout.source.name}: {rows} in {_count(len(units), 'storage unit')}.",
            f"Reading: one pass reads {_size(self.bytes_per_pass)} in {cut}."
            + smaller * (times > OFTEN and self.bytes_per_pass > TOLD_FROM),
            f"Tasks: at most {self.tasks:,} a pass, {blocks:,} of them read and compute, the others add up.",
            f"Work: {size.flops(layout.rows) / 1e9:,.1f} GFLOP a pass, {tiles}.",
            f"Statistics: {_size(size.statistics_bytes)} of sums from each block.",
            f"Memory: at most {_size(self.memory_bytes)} for each worker thread, beside the interpreter and libraries.",
            f"Digest: {self.digest[:16]}; plans of one digest take all sums in the same order.",
        ]

    def residence(self, nbytes: float) -> str:
        """Tell which blocks stay in memory between passes, where ``nbytes`` of rows may, over all workers."""
        blocks, kept = self.layout.blocks, staying(self.layout, nbytes)
        if all(block.in_memory for block in blocks):
            return "Between passes: the rows are in memory, or mapped to it, as they are."
        if not kept:
            return f"Between passes: no block stays in memory; {_size(nbytes)} would hold too few of the rows."
        if len(kept) == len(blocks):
            return "Between passes: all blocks stay in memory, and only the first pass reads."
        left = sum(piece.nbytes for block in blocks if block.index not in kept for piece in block.pieces)
        return (
            f"Between passes: {len(kept):,} of the {len(blocks):,} blocks stay in memory ({_listed(sorted(kept))}); "
            f"later passes read {_size(left)}."
        )

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def __repr__(self) -> str:
        return f"<Plan {self.digest[:16]}: {len(self.layout.blocks):,} blocks of {self.layout.source.name}>"


def plan(source: Source, atoms: Sequence[Atom], size: ModelSize, align: int = 1) -> Plan:
    """Cut a source's atoms, whose row counts are known, into blocks that begin at multiples of ``align`` rows.

    Raises
    ------
    InputError
        The source has no rows.
    """
    rows = sum(atom.rows or 0 for atom in atoms)
    if rows == 0:
        raise InputError(f"{source.name} has no rows; give data with at least one row")
    tile = size.tile_rows
    slab = _slab_rows(source.schema.features * source.schema.dtype.itemsize, tile, rows)
    ends = list(accumulate((atom.rows or 0 for atom in atoms), initial=0))
    cuts = sorted({min(-(-cut // align) * align, rows) for cut in _ends_of_blocks(atoms, rows, size)})
    blocks = tuple(
        Block(i, start, tuple(pieces_of(atoms, ends, start, stop)))
        for i, (start, stop) in enumerate(pairwise([0, *cuts]))
    )
    layout = Layout(source, blocks, slab, tile)
    return Plan(dataclasses.replace(layout, working=Plan(layout, size).memory_bytes), size)


def _ends_of_blocks(atoms: Sequence[Atom], rows: int, size: ModelSize) -> Iterator[int]:
    """Yield where each block ends: whole atoms joined up to the size wanted, atoms cut only where there is need."""
    nbytes = sum(atom.nbytes for atom in atoms)
    divisible = all(atom.divisible for atom in atoms)
    needed, wanted = _block_counts(rows, nbytes, size, divisible)
    if divisible:
        yield from (rows * (i + 1) // wanted for i in range(wanted))
        return
    end, current = 0, 0
    for atom in atoms:
        n = atom.rows or 0
        pieces = max(round(n * needed / rows), 1)
        block = (2 * end + n) * wanted // (2 * rows)  # of equal ones, that the middle of the unit lies in
        if end and (pieces > 1 or block > current):
            yield end
        yield from (end + n * (piece + 1) // pieces for piece in range(pieces - 1))  # each piece reads the whole unit
        current, end = block, end + n
    yield end


def _block_counts(rows: int, nbytes: int, size: ModelSize, divisible: bool) -> tuple[int, int]:
    """Return how many blocks memory, work and two workers need, and how many are wanted."""
    largest = min(max(BLOCK_BYTES, 50 * size.statistics_bytes, nbytes // BLOCKS_MOST), BLOCK_BYTES_MOST)
    seconds = size.seconds(rows)
    by_work = min(int(seconds / BLOCK_SECONDS) + 1, BLOCKS_MOST)
    needed = min(max(-(-nbytes // largest), by_work, min(BLOCKS_LEAST, rows // size.tile_rows), 1), rows)
    worthwhile = min(int(seconds / max(BLOCK_WORTH, SUMS_WORTH * size.statistics_bytes)), rows // BLOCK_LEAST)
    light = min(rows // BLOCK_ROWS, int(seconds / BLOCK_PAYS) if divisible else BLOCKS_EASY)
    wanted = max(needed, min(BLOCKS_EASY, max(light, worthwhile)))
    return needed, min(
        -(-wanted // 4) * 4 if wanted > BLOCKS_LEAST else wanted, rows
    )  # two or four workers end together


def _slab_rows(row_bytes: int, tile: int, rows: int) -> int:
    slab = tile
    while slab < rows and 2 * slab * row_bytes <= (SLAB_BYTES if slab < SLAB_ROWS else SLAB_BYTES // 4):
        slab *= 2
    return slab


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(f"{number:,}" for number in numbers[:LISTED])
    return f"{shown} .. {numbers[-1]:,}" if len(numbers) > LISTED else shown


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _size(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if nbytes < 1024 or unit == "TiB":
            return f"{nbytes:,.0f} {unit}" if unit == "bytes" else f"{nbytes:,.1f} {unit}"
        nbytes /= 1024
    raise AssertionError  # the loop returns at TiB
