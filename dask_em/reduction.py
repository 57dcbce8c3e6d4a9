"""Sums over blocks in one fixed tree. Execution is blind: it sees a function, blocks and ``+``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import reduce
from itertools import count
from typing import Any, Protocol, TypeVar

import numpy as np

from dask_em.errors import InputError
from dask_em.rows import Rows
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block, Layout, Reader

__all__ = [
    "ARITY",
    "Memory",
    "Reducer",
    "Serial",
    "Sink",
    "add_up",
    "merge",
    "require_blocks",
    "staying",
    "total_of_blocks",
    "tree",
    "write_blocks",
    "write_whole",
]

V = TypeVar("V")
ARITY = 8  # of the tree over block indices
LEAST_SHARE = 0.1  # of the rows: to keep fewer of them in memory is not worth it
GOLDEN = 5**0.5 / 2 - 0.5  # multiples of it, modulo one, fall into the largest gaps that earlier ones left


class Sink(Protocol):
    """Where results of blocks go. Writing a block twice leaves what writing it once leaves. Picklable."""

    def begin(self) -> None:
        """Make room, on the driver; refuse a destination that exists."""
        ...

    def write(self, block: Block, parts: Iterator[np.ndarray[Any, Any]]) -> Manifest:
        """Write a block's results, where the block was computed."""
        ...

    def commit(self, manifest: Manifest) -> None:
        """Make the result visible, on the driver, after the last block."""
        ...

    def abandon(self) -> None:
        """Remove what was written, on the driver, where the write failed; never raises."""
        ...


class Reducer(Protocol):
    """All that execution provides."""

    @property
    def layout(self) -> Layout:
        """The rows that it works over."""
        ...

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """Return the sum of ``kernel`` over all rows, added up in the fixed tree."""
        ...

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """Write ``kernel``'s result for every row, block by block, committed last."""
        ...

    def news(self) -> tuple[str, ...]:
        """Return what went wrong and was mended since this was last asked, a sentence each."""
        ...


def total_of_blocks(kernel: Callable[[Rows], V], reader: Reader, blocks: Sequence[Block]) -> V:
    """Return the sum of ``kernel`` over some blocks: the sum of each, slab after slab, is added to those before it."""
    with closing(reader.blocks(blocks)) as each:
        return add_up(add_up(map(kernel, slabs)) for _, slabs in each)


def write_blocks(
    kernel: Callable[[Rows], np.ndarray[Any, Any]], reader: Reader, blocks: Sequence[Block], sink: Sink
) -> Manifest:
    """Write ``kernel``'s result for some blocks, slab after slab."""
    with closing(reader.blocks(blocks)) as each:
        return add_up(sink.write(block, map(kernel, slabs)) for block, slabs in each)


def write_whole(sink: Sink, gather: Callable[[], Manifest]) -> Manifest:
    """Write all blocks with ``gather`` and commit; whatever ends the write early leaves nothing behind."""
    try:
        sink.begin()
        manifest = gather()
        sink.commit(manifest)
    except BaseException:
        sink.abandon()
        raise
    return manifest


def tree(leaves: int) -> list[list[range]]:
    """Return, level by level, which nodes of the level below each node adds up; the last level has one node."""
    levels: list[list[range]] = []
    while leaves > 1:
        levels.append([range(i, min(i + ARITY, leaves)) for i in range(0, leaves, ARITY)])
        leaves = len(levels[-1])
    return levels


def add_up(values: Iterable[V]) -> V:
    """Add values from left to right: one node of the tree."""
    coming = iter(values)
    value = next(coming)
    for other in coming:
        value = value + other  # type: ignore[operator]  # V has an associative +
    return value


def merge(values: Iterable[V]) -> V:
    """Add up the values of all blocks, given in order of block index, in the fixed tree, holding one a level."""
    open_nodes: list[tuple[int, V] | None] = []  # of each level: how many were added up, and their sum
    for value in values:
        total = value
        for level in count():
            if level == len(open_nodes):
                open_nodes.append(None)
            node = open_nodes[level]
            size, total = (1, total) if node is None else (node[0] + 1, add_up([node[1], total]))
            if size < ARITY:
                open_nodes[level] = size, total
                break
            open_nodes[level] = None
    left = [node[1] for node in open_nodes if node is not None]
    return reduce(lambda below, above: add_up([above, below]), left)


def require_blocks(layout: Layout) -> None:
    """Refuse data without rows."""
    if not layout.blocks:
        raise InputError(f"{layout.source.name} has no rows; give data with at least one row")


class Memory:
    """The blocks that stay in this process's memory between passes: as many as fit, spread evenly over the data.

    A block is read when it is first asked for. What is in memory as it is, is left where it is.
    """

    def __init__(self, layout: Layout, nbytes: float = 0.0) -> None:
        self.chosen = staying(layout, nbytes)
        self._blocks: dict[int, Block] = {}

    def block(self, reader: Reader, block: Block) -> Block:
        """Return the block, with its rows in memory where it is one that stays."""
        if block.index not in self.chosen:
            return block
        if block.index not in self._blocks:
            self._blocks[block.index] = reader.keep(block)
        return self._blocks[block.index]


def staying(layout: Layout, nbytes: float, movable: Callable[[Block], bool] = bool) -> frozenset[int]:
    """Return which blocks stay in memory where ``nbytes`` are allowed.

    They are spread evenly, so that reading is; where less is allowed later, they are some of those that stayed before.
    """
    could = [block for block in layout.blocks if not block.in_memory and movable(block)]
    share = min(1.0, nbytes / max(1, sum(block.rows for block in could) * layout.row_nbytes))
    if share < LEAST_SHARE:
        return frozenset()
    turns = sorted(range(len(could)), key=lambda i: i * GOLDEN % 1.0)
    return frozenset(could[i].index for i in turns[: int(len(could) * share + 1e-9)])


class Serial:
    """One block after another, in this thread: the reference that every other reducer equals bit for bit.

    ``keep`` bytes of rows may stay in memory between passes.
    """

    def __init__(self, layout: Layout, keep: float = 0.0) -> None:
        require_blocks(layout)
        self.layout = layout
        self._reader = Reader(layout.source, layout.slab_rows)
        self._memory = Memory(layout, keep)

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """See :class:`Reducer`."""
        reader, memory = self._reader, self._memory
        return merge(total_of_blocks(kernel, reader, [memory.block(reader, block)]) for block in self.layout.blocks)

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """See :class:`Reducer`."""
        blocks = (write_blocks(kernel, self._reader, [block], sink) for block in self.layout.blocks)
        return write_whole(sink, lambda: merge(blocks))

    def news(self) -> tuple[str, ...]:
        """See :class:`Reducer`."""
        return self._reader.retrying.told()
