"""Which blocks share a task: whole nodes of the tree while many are left, single blocks at the end of a pass.

A task costs a worker and the scheduler a few milliseconds, whatever it computes, and its worker waits one of them for
the next. Nodes of the tree are added up in the same order wherever that is done: no batch changes a bit.
"""

from __future__ import annotations

from collections.abc import Iterable

from dask_em.execution.tasks import held_by_blocks
from dask_em.reduction import ARITY, tree
from dask_em.storage.blocks import Block, Layout

__all__ = ["batches", "common", "single"]

BATCH_BYTES = 256 * 2**20  # decoded: no more is lost with a worker, and waited for, than where one block is as large
LOOSE = 4  # blocks for each thread, at least, that are left alone: they even out what workers differ in
SHARED = 8  # blocks for each thread, at most, of which each worker keeps a copy
COPIES = 0.5  # of all blocks, at most, are read once more


def single(indices: Iterable[int]) -> list[range]:
    """Return a batch for each block."""
    return [range(index, index + 1) for index in indices]


def batches(layout: Layout, threads: int) -> list[range]:
    """Return the batches of block indices for so many threads, as many whole nodes to each, in order of blocks.

    Blocks that are large, or whose rows lie in memory already, here or on a worker, have tasks of their own.
    """
    blocks, threads = layout.blocks, max(1, threads)
    lowest = tree(len(blocks))[0] if len(blocks) > 1 else [range(len(blocks))]
    nodes = [node for node in lowest if _may(blocks[node.start : node.stop])]
    most = min(len(nodes), max(0, len(blocks) - LOOSE * threads) // ARITY)
    whole = set(nodes[: most // threads * threads])
    return [batch for node in lowest for batch in ([node] if node in whole else single(node))]


def common(layout: Layout, cut: list[range], stay: frozenset[int], nbytes: float, threads: list[int]) -> frozenset[int]:
    """Return the blocks of which each worker should keep a copy: the last of those that have tasks of their own.

    There are any where all rows stay on few workers, told by their threads, and the copies have room in ``nbytes``.
    """
    blocks, others = layout.blocks, len(threads) - 1
    if others < 1 or len(stay) < len(blocks):
        return frozenset()
    alone = [batch.start for batch in cut if len(batch) == 1]
    shared = min(len(alone), SHARED * sum(threads), int(COPIES * len(blocks)) // others)
    last = alone[len(alone) - shared :]
    rows = layout.rows + others * sum(blocks[index].rows for index in last)
    return frozenset(last if shared >= LOOSE * sum(threads) and rows * layout.row_nbytes <= nbytes else ())


def _may(blocks: tuple[Block, ...]) -> bool:
    if any(block.in_memory for block in blocks) or held_by_blocks(blocks):
        return False
    return sum(piece.nbytes for block in blocks for piece in block.pieces) <= BATCH_BYTES
