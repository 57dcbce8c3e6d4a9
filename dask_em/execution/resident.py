"""What stays on the cluster for the life of a reducer: rows, and a source too large to travel often.

All of it is made by tasks, so that the scheduler has it made again where a worker dies.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dask.utils import parse_bytes
from distributed import Client, Future

from dask_em.execution.tasks import KeepTask, Parcel, held_by, keep, large_graphs, parcel, small_parcel, without_held
from dask_em.reduction import staying
from dask_em.storage.blocks import Block, Layout

__all__ = [
    "LEAST_MEMORY",
    "Argument",
    "Resident",
    "fewer_than_cliff",
    "memory_for_rows",
    "memory_of_thread",
    "whole_arguments",
]

# A worker takes 84 MB bare, 92 MB with the libraries for Zarr and 236 MB with those for Parquet and frames (measured,
# Python 3.11 on Linux), and pauses at 80% of its limit: with less it stands still, or dies and begins again for ever.
LEAST_MEMORY = 300 * 10**6
OF_MEMORY = 0.5  # of what workers have beside that may hold rows between passes
PAUSES = 0.8  # of its memory: more, and a worker takes no further task
LOOK_AGAIN = 10.0  # seconds after which the cluster is asked for its memory once more
_GONE = frozenset({"error", "cancelled", "lost"})


@dataclass(frozen=True)
class Argument:
    """What a block's task is called with."""

    index: int
    source: Parcel | Future[Any]
    block: Parcel | Future[Any] | Hashable  # the rows, where they are, or the key of a task that reads them
    held: dict[Hashable, Future[Any]]  # of the user's own, already on the cluster
    reads: dict[Hashable, Any] = field(default_factory=dict)  # that task, to be run in the same graph


def fewer_than_cliff(tasks: int, client: Any) -> bool:
    """Say whether so few tasks share a small dependency that the scheduler would give all of them to one worker."""
    threads: int = sum(client.nthreads().values())
    return tasks <= 2 * threads


def whole_arguments(layout: Layout) -> Iterator[Argument]:
    """Yield what each block's task is called with where it needs nothing that a worker holds, but the user's own."""
    source = parcel(layout.source)
    for block in layout.blocks:
        yield Argument(block.index, source, parcel(_bare(block)), held_by([piece.atom for piece in block.pieces]))


def memory_of_thread(client: Any) -> float | None:
    """Return the bytes that the thread with the least has beside its worker's own; None where no limit is known."""
    found = [memory_for_rows(worker["memory_limit"], worker["nthreads"]) for worker in _workers(client)]
    return min((each for each in found if each is not None), default=None)


def _workers(client: Any) -> list[dict[str, Any]]:
    """Return what the scheduler knows of its workers: of all of them, where versions have told of five."""
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def memory_for_rows(limit: str | float | None, threads: int) -> float | None:
    """Return the bytes that each thread of a worker has beside the worker's own; None where there is no limit."""
    if not limit or limit == "auto":
        return None
    return max(0.0, PAUSES * parse_bytes(limit) - LEAST_MEMORY) / threads


def _free(worker: Mapping[str, Any], working: float) -> float:
    """Return the bytes that a worker may keep: a share of its memory, and no more than its threads leave of it."""
    limit = float(worker["memory_limit"] or 0)
    left = PAUSES * limit - LEAST_MEMORY - int(worker["nthreads"]) * working
    return max(0.0, min(OF_MEMORY * (limit - LEAST_MEMORY), left))


class Resident:
    """Values made by tasks of their own, once.

    Rows in memory are sent once and stay. Of what has to be read, as many blocks stay as fit ``nbytes``, or half of
    the workers' memory; blocks are chosen by their index alone, given back when the memory shrinks.
    """

    def __init__(self, client: Client, layout: Layout, run: str, nbytes: float | None = None) -> None:
        self._client: Any = client  # its methods have no types
        self._layout = layout
        self._run = run
        self._nbytes = nbytes
        self._kept: dict[str, Future[Any]] = {}
        self._blocks: dict[int, Future[Any]] = {}  # read from storage, kept
        self._staying: frozenset[int] = frozenset()
        self._rounds = count()  # of reading: new keys, since the client knows what became of the old ones
        self._looked = float("-inf")
        self._parcels: dict[int, Parcel | None] = {}
        self._source = small_parcel(layout.source)

    def arguments(self, attempt: int, again: bool) -> Iterator[Argument]:
        """Yield what each block's task is called with, in order of blocks; what is not there yet is sent.

        Rows that are read in a first attempt, and will be read ``again``, are kept. The next attempts, on a cluster in
        trouble, keep none.
        """
        sources, round_ = self._sources(attempt), next(self._rounds)
        if again or attempt > 1:
            self._choose(attempt)
        for block in self._layout.blocks:
            source = sources[block.index % len(sources)]
            if block.index in self._blocks:
                yield Argument(block.index, source, self._blocks[block.index], {})
                continue
            held = held_by([piece.atom for piece in block.pieces])
            sent = self._block(block, attempt)
            if not again or block.index not in self._staying:
                yield Argument(block.index, source, sent, held)
            else:
                key = (f"read-{self._run}-{round_}", block.index)
                reads: dict[Hashable, Any] = {key: (KeepTask(self._layout.slab_rows), source, sent)}
                yield Argument(block.index, source, key, {}, reads)

    def took(self, blocks: dict[int, Future[Any]]) -> None:
        """Keep the rows that tasks of a pass have read; what was sent to read them is known to the scheduler alone."""
        self._blocks.update(blocks)
        for index in blocks:
            sent = self._kept.pop(f"load-{index}", None)
            if sent is not None:
                sent.release()  # type: ignore[no-untyped-call]  # distributed's own

    def release(self) -> None:
        """Let the cluster forget everything."""
        for kept in (self._kept, self._blocks):
            for future in kept.values():
                future.release()  # type: ignore[no-untyped-call]  # distributed's own
            kept.clear()

    def _choose(self, attempt: int) -> None:
        """Choose the blocks that stay, and give back those that no longer do."""
        if attempt > 1:
            self._staying, self._looked = frozenset(), float("-inf")
        elif time.monotonic() - self._looked > LOOK_AGAIN:
            allowed = self._memory() if self._nbytes is None else self._nbytes
            self._staying = staying(self._layout, allowed, lambda block: not held_by([p.atom for p in block.pieces]))
            self._looked = time.monotonic()
        gone = [i for i, future in self._blocks.items() if i not in self._staying or future.status in _GONE]
        for index in gone:
            self._blocks.pop(index).release()  # type: ignore[no-untyped-call]  # distributed's own

    def _memory(self) -> float:
        """Return the bytes that rows may take: a share of what workers have beside their own and what others keep."""
        schema, workers = self._layout.source.schema, _workers(self._client)
        ours = sum(self._layout.blocks[i].rows for i in self._blocks) * schema.features * schema.dtype.itemsize
        kept: int = sum(worker["metrics"].get("managed_bytes", 0) for worker in workers)
        free = sum(_free(worker, self._layout.working) for worker in workers)
        return max(0.0, free - max(0, kept - ours))

    def _sources(self, attempt: int) -> list[Parcel | Future[Any]]:
        if self._source is not None:
            return [self._source]
        workers = len(self._client.nthreads()) or 1
        copies = workers if fewer_than_cliff(len(self._layout.blocks), self._client) else 1
        return [self._keep("src", copy, self._layout.source, attempt) for copy in range(copies)]

    def _block(self, block: Block, attempt: int) -> Parcel | Future[Any]:
        if block.index not in self._parcels:
            self._parcels[block.index] = small_parcel(_bare(block))
        packed = self._parcels[block.index]
        return self._keep("load", block.index, _bare(block), attempt) if packed is None else packed

    def _keep(self, prefix: str, number: int, value: Any, attempt: int) -> Future[Any]:
        name = f"{prefix}-{number}"
        future = self._kept.get(name)
        if future is None or future.status in _GONE:
            key = (f"{prefix}-{self._run}-{attempt}", number)  # a new key: deaths are counted over a key's life
            with large_graphs():
                future = self._kept[name] = self._client.submit(keep, value, key=key, pure=False)
        return future


def _bare(block: Block) -> Block:
    pieces = tuple(dataclasses.replace(piece, atom=without_held(piece.atom)) for piece in block.pieces)
    return dataclasses.replace(block, pieces=pieces)
