"""Sums over blocks in one fixed tree. Execution is blind: it sees a function, blocks and ``+``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from dask_em.errors import InputError
from dask_em.rows import Rows, Workspace
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block, Layout, read_block
from dask_em.storage.source import Source

__all__ = [
    "ARITY",
    "Reducer",
    "Serial",
    "Sink",
    "add_up",
    "merge",
    "require_blocks",
    "total_of_block",
    "tree",
    "write_block",
    "write_whole",
]

V = TypeVar("V")
ARITY = 8  # of the tree over block indices


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


def total_of_block(
    kernel: Callable[[Rows], V], source: Source, block: Block, slab_rows: int, workspace: Workspace | None = None
) -> V:
    """Return the sum of ``kernel`` over one block, slab after slab."""
    slabs = read_block(source, block, slab_rows, workspace)
    value = kernel(next(slabs))
    for rows in slabs:
        value = value + kernel(rows)  # type: ignore[operator]  # V has an associative +
    return value


def write_block(
    kernel: Callable[[Rows], np.ndarray[Any, Any]], source: Source, block: Block, slab_rows: int, sink: Sink
) -> Manifest:
    """Write ``kernel``'s result for one block, slab after slab."""
    return sink.write(block, (kernel(rows) for rows in read_block(source, block, slab_rows)))


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


def add_up(values: Sequence[V]) -> V:
    """Add values from left to right: one node of the tree."""
    value = values[0]
    for other in values[1:]:
        value = value + other  # type: ignore[operator]  # V has an associative +
    return value


def merge(values: Iterable[V]) -> V:
    """Add up the values of all blocks, given in order of block index, in the fixed tree, holding few at a time."""
    levels: list[list[V]] = [[]]
    for value in values:
        levels[0].append(value)
        for level, nodes in enumerate(levels):
            if len(nodes) < ARITY:
                break
            if level + 1 == len(levels):
                levels.append([])
            levels[level + 1].append(add_up(nodes))
            nodes.clear()
    for below, above in pairwise(levels):
        if below:
            above.append(add_up(below))
    return add_up(levels[-1])


def require_blocks(layout: Layout) -> None:
    """Refuse data without rows."""
    if not layout.blocks:
        raise InputError(f"{layout.source.name} has no rows; give data with at least one row")


class Serial:
    """One block after another, in this thread: the reference that every other reducer equals bit for bit."""

    def __init__(self, layout: Layout) -> None:
        require_blocks(layout)
        self.layout = layout

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """See :class:`Reducer`."""
        layout, workspace = self.layout, Workspace()
        return merge(
            total_of_block(kernel, layout.source, block, layout.slab_rows, workspace) for block in layout.blocks
        )

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """See :class:`Reducer`."""
        layout = self.layout
        blocks = (write_block(kernel, layout.source, block, layout.slab_rows, sink) for block in layout.blocks)
        return write_whole(sink, lambda: merge(blocks))
