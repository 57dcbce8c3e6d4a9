"""Atoms into blocks, tiles and a tree; memory, tasks and bytes foretold before anything runs.

A plan is a pure function of the data's layout and the model's size, with committed constants: never of the machine,
the cluster or a clock. That is what makes identical bits possible.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from dask_em.errors import InputError
from dask_em.reduction import ARITY, tree
from dask_em.storage.blocks import Block, Layout, Piece
from dask_em.storage.source import Atom, Source

__all__ = ["ModelSize", "Plan", "plan"]

MEBIBYTE = 2**20
BLOCK_BYTES = 256 * MEBIBYTE
BLOCK_BYTES_MOST = 4096 * MEBIBYTE
BLOCKS_MOST = 32_768  # or thereabouts: whole atoms do not always fit
BLOCK_SECONDS = 10.0  # at most about so much work of one core
BLOCK_ROWS, BLOCK_WORTH, BLOCKS_EASY = 65_536, 2e-2, 64  # more blocks, while each has so many rows or seconds
BLOCKS_LEAST, BLOCK_LEAST = 8, 2_048  # blocks, and rows of one: five blocks on two workers would split 3:2
LAID_OUT = 6  # times the statistics: sums and factors as the compiled kernel wants them, padded
TILE_BYTES, TILE_LEAST, TILE_MOST = 4 * MEBIBYTE, 768, 6_144  # features of a tile stay near the L2 cache; 96 divides it
SECONDS_A_PRODUCT, SECONDS_A_COMPONENT = 4e-11, 4e-9  # of one core and one row, in the compiled kernel, float64
SLAB_BYTES, SLAB_MOST = 16 * MEBIBYTE, 65_536
DECODE_SECONDS_A_BYTE = 1.3e-9  # of one core, Zarr's default codec: what cutting an atom in two costs again
DECODE_AGAIN = 0.1  # of the kernel's time may go into decoding cut atoms once more


@dataclass(frozen=True)
class ModelSize:
    """How large the models of a pass are."""

    components: int  # k, summed over the models
    products: int  # P, features of a row in the product form
    form: str = "product"  # of the kernel, for people

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


@dataclass(frozen=True)
class Plan:
    """What will happen: a layout, and what it costs."""

    layout: Layout
    size: ModelSize

    @property
    def tasks(self) -> int:
        """Tasks of one pass: blocks and the tree that adds them up."""
        blocks = len(self.layout.blocks)
        return blocks + sum(len(level) for level in tree(blocks))

    @property
    def bytes_per_pass(self) -> int:
        """Bytes decoded in one pass."""
        return self.layout.nbytes

    @property
    def memory_bytes(self) -> int:
        """Peak bytes of one worker thread, beside the interpreter and its libraries."""
        layout, size = self.layout, self.size
        atom = max((piece.nbytes for block in layout.blocks for piece in block.pieces), default=0)
        row = layout.source.schema.features * layout.source.schema.dtype.itemsize + 8
        tile = 8 * layout.tile_rows * (size.products + 4 * size.components + 24)
        return 2 * atom + 2 * layout.slab_rows * row + tile + (ARITY + 2 + LAID_OUT) * size.statistics_bytes

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
        atoms = len({piece.atom.place for block in layout.blocks for piece in block.pieces})
        data = f"{layout.source.name}: {layout.rows:,} rows of {schema.features} columns ({schema.dtype})"
        cost = (
            f"{len(layout.blocks):,} blocks and takes {self.tasks:,} tasks, {size.flops(layout.rows) / 1e9:,.1f} GFLOP"
        )
        kernel = f"{size.products:,} features a row, tiles of {layout.tile_rows:,} rows, slabs of {layout.slab_rows:,}"
        memory = f"about {_size(self.memory_bytes)} for each worker thread, beside the interpreter"
        return [
            f"{data} in {atoms:,} storage units.",
            f"One pass reads {_size(self.bytes_per_pass)} in {cost}.",
            f"Kernel: {size.form} form, {kernel}.",
            f"Statistics: {_size(size.statistics_bytes)} a block. Memory: {memory}.",
        ]


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
    slab = _slab_rows(source.schema.features * source.schema.dtype.itemsize, tile)
    ends = list(accumulate((atom.rows or 0 for atom in atoms), initial=0))
    cuts = sorted({min(-(-cut // align) * align, rows) for cut in _ends_of_blocks(atoms, rows, size)})
    blocks = tuple(
        Block(i, start, tuple(_pieces(atoms, ends, start, stop)))
        for i, (start, stop) in enumerate(pairwise([0, *cuts]))
    )
    return Plan(Layout(source, blocks, slab, tile), size)


def _ends_of_blocks(atoms: Sequence[Atom], rows: int, size: ModelSize) -> Iterator[int]:
    """Yield where each block ends: whole atoms joined up to the size wanted, atoms cut only where it pays."""
    nbytes = sum(atom.nbytes for atom in atoms)
    needed, wanted = _block_counts(rows, nbytes, size)
    if all(atom.divisible for atom in atoms):
        yield from (rows * (i + 1) // wanted for i in range(wanted))
        return
    cheap = 1 + int(DECODE_AGAIN * size.seconds(rows) / (DECODE_SECONDS_A_BYTE * max(nbytes, 1)))
    first = end = 0
    for atom in atoms:
        n = atom.rows or 0
        pieces = max(round(n * needed / rows), min(round(n * wanted / rows), cheap), 1)
        for piece in range(pieces):
            size_of_piece = n * (piece + 1) // pieces - n * piece // pieces
            if end > first and rows / wanted - (end - first) <= (end + size_of_piece - first) - rows / wanted:
                yield end
                first = end
            end += size_of_piece
    yield end


def _block_counts(rows: int, nbytes: int, size: ModelSize) -> tuple[int, int]:
    """Return how many blocks memory, work and two workers need, and how many are wanted."""
    largest = min(max(BLOCK_BYTES, 50 * size.statistics_bytes, nbytes // BLOCKS_MOST), BLOCK_BYTES_MOST)
    by_work = min(int(size.seconds(rows) / BLOCK_SECONDS) + 1, BLOCKS_MOST)
    needed = min(max(-(-nbytes // largest), by_work, min(BLOCKS_LEAST, rows // size.tile_rows), 1), rows)
    worthwhile = min(int(size.seconds(rows) / BLOCK_WORTH), rows // BLOCK_LEAST)
    wanted = max(needed, min(BLOCKS_EASY, max(rows // BLOCK_ROWS, worthwhile)))
    return needed, min(
        -(-wanted // 4) * 4 if wanted > BLOCKS_LEAST else wanted, rows
    )  # two or four workers end together


def _slab_rows(row_bytes: int, tile: int) -> int:
    slab = tile
    while slab < SLAB_MOST and 2 * slab * row_bytes <= SLAB_BYTES:
        slab *= 2
    return slab


def _pieces(atoms: Sequence[Atom], ends: list[int], start: int, stop: int) -> Iterator[Piece]:
    at = bisect_left(ends, start + 1) - 1
    while at < len(atoms) and ends[at] < stop:
        first, last = max(start, ends[at]), min(stop, ends[at + 1])
        if first < last:
            yield Piece(atoms[at], first - ends[at], last - ends[at])
        at += 1


def _size(nbytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if nbytes < 1024 or unit == "TiB":
            return f"{nbytes:,.0f} {unit}" if unit == "bytes" else f"{nbytes:,.1f} {unit}"
        nbytes /= 1024
    raise AssertionError  # the loop returns at TiB
