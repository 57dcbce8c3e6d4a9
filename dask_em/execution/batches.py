"""Which blocks share a task: whole nodes of the tree while many are left, single blocks at the end of a pass.

A task costs a worker and the scheduler a few milliseconds, whatever it computes, and its worker waits one of them for
the next. Nodes of the tree are added up in the same order wherever that is done: no batch changes a bit.
"""

from __future__ import annotations

from itertools import chain

from dask_em.execution.tasks import held_by
from dask_em.reduction import ARITY, tree
from dask_em.storage.blocks import Block, Layout

__all__ = ["batches", "single"]

BATCH_BYTES = 256 * 2**20  # decoded: no more is lost with a worker, and waited for, than where one block is as large
LOOSE = 4  # blocks for each thread, at least, that are left alone: they even out what workers differ in


def single(layout: Layout) -> list[range]:
    """Return a batch for each block."""
    return [range(block.index, block.index + 1) for block in layout.blocks]


def batches(layout: Layout, threads: int) -> list[range]:
    """Return the batches of block indices for so many threads, as many whole nodes to each, in order of blocks.

    Blocks that are large, or whose rows lie in memory already, here or on a worker, have tasks of their own.
    """
    blocks, threads = layout.blocks, max(1, threads)
    lowest = next(iter(tree(len(blocks))), [])
    nodes = [node for node in lowest if _may(blocks[node.start : node.stop])]
    most = min(len(nodes), max(0, len(blocks) - LOOSE * threads) // ARITY)
    whole = nodes[: most // threads * threads]
    together = set(chain.from_iterable(whole))
    alone = [one for one in single(layout) if one.start not in together]
    return sorted([*whole, *alone], key=lambda batch: batch.start)


def _may(blocks: tuple[Block, ...]) -> bool:
    pieces = [piece for block in blocks for piece in block.pieces]
    if any(block.in_memory for block in blocks) or held_by([piece.atom for piece in pieces]):
        return False
    return sum(piece.nbytes for piece in pieces) <= BATCH_BYTES
