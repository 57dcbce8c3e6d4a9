"""What stays on the cluster for the life of a reducer: rows, and a source too large to travel often.

All of it is made by tasks, so that the scheduler has it made again where a worker dies.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from dask.utils import parse_bytes
from distributed import Client, Future

from dask_em.execution.batches import batches, common, single
from dask_em.execution.tasks import (
    KeepTask,
    Parcel,
    bare_blocks,
    held_by_blocks,
    keep,
    large_graphs,
    parcel,
    small_parcel,
)
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
Indices = tuple[int, ...]  # of blocks
_GONE = frozenset({"error", "cancelled", "lost"})


@dataclass(frozen=True)
class Argument:
    """What the task of a batch of blocks is called with."""

    batch: range  # of block indices
    source: Parcel | Future[Any]
    blocks: Parcel | Future[Any]  # those that the task reads, or that lie in memory
    held: dict[Hashable, Future[Any]]  # of the user's own, already on the cluster
    kept: Future[Any] | Hashable | None = None  # the others, whose rows stay, or the key of a task that reads them
    read: tuple[Any, ...] | None = None  # that task, to be run in the same graph
    common: frozenset[int] = frozenset()  # blocks of which each worker keeps a copy
    ahead: Parcel | None = None  # those, where copies are to be read now

    @property
    def anywhere(self) -> bool:
        """Whether all workers have, or will have, what it needs."""
        return self.batch.start in self.common


def fewer_than_cliff(tasks: int, client: Any) -> bool:
    """Say whether so few tasks share a small dependency that the scheduler would give all of them to one worker."""
    threads: int = sum(client.nthreads().values())
    return tasks <= 2 * threads


def whole_arguments(layout: Layout) -> Iterator[Argument]:
    """Yield what each block's task is called with where it needs nothing that a worker holds, but the user's own."""
    source = parcel(layout.source)
    for batch in single(range(len(layout.blocks))):
        blocks = layout.blocks[batch.start : batch.stop]
        yield Argument(batch, source, parcel(bare_blocks(blocks)), held_by_blocks(blocks))


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
        self._kept: dict[Hashable, Future[Any]] = {}
        self._rows: dict[Indices, Future[Any]] = {}  # of blocks read from storage
        self._batches: dict[range, Indices] = {}  # those of its blocks that stay
        self._common: frozenset[int] = frozenset()  # of which each worker keeps a copy
        self._threads = 1  # the most so far: rows that stay in batches are not read again for a worker's death
        self._rounds = count()  # of reading: new keys, since the client knows what became of the old ones
        self._looked = float("-inf")
        self._parcels: dict[Indices, Parcel | None] = {}
        self._source = small_parcel(layout.source)

    def arguments(self, attempt: int, again: bool) -> Iterator[Argument]:
        """Yield what each batch's task is called with, in order of blocks; what is not there yet is sent.

        Rows that are read in a first attempt, and will be read ``again``, are kept. The next attempts, on a cluster in
        trouble, keep none.
        """
        sources, round_ = self._sources(attempt), next(self._rounds)
        self._choose(attempt)
        for batch, stay in self._batches.items():
            source, read, ahead = sources[batch.start % len(sources)], None, None
            kept: Any = self._rows.get(stay)
            if kept is None and stay and again:
                kept = (f"read-{self._run}-{round_}", batch.start)
                read = (KeepTask(self._layout.slab_rows), source, self._sent(stay, attempt))
                ahead = self._packed(tuple(sorted(self._common))) if self._common else None
            rest = tuple(index for index in batch if kept is None or index not in stay)
            held = held_by_blocks(self._layout.blocks[index] for index in rest)
            yield Argument(batch, source, self._sent(rest, attempt), held, kept, read, self._common, ahead)

    def took(self, batch: range, rows: Future[Any]) -> None:
        """Keep the rows that a task of a pass has read; what was sent to read them is known to the scheduler alone."""
        stay = self._batches[batch]
        self._rows[stay] = rows
        sent = self._kept.pop(("load", stay), None)
        if sent is not None:
            sent.release()  # type: ignore[no-untyped-call]  # distributed's own

    def release(self) -> None:
        """Let the cluster forget everything."""
        for future in (*self._kept.values(), *self._rows.values()):
            future.release()  # type: ignore[no-untyped-call]  # distributed's own
        self._kept.clear()
        self._rows.clear()

    def _choose(self, attempt: int) -> None:
        """Choose the batches and the blocks that stay, and give back those that no longer do."""
        if attempt > 1:
            self._batches, self._common = dict.fromkeys(single(range(len(self._layout.blocks))), ()), frozenset()
            self._looked = float("-inf")
        elif time.monotonic() - self._looked > LOOK_AGAIN:
            workers = _workers(self._client)
            allowed = self._memory(workers) if self._nbytes is None else self._nbytes
            stay = staying(self._layout, allowed, lambda block: not held_by_blocks([block]))
            self._threads = max(self._threads, sum(worker["nthreads"] for worker in workers))
            cut = batches(self._layout, self._threads)
            self._common = common(self._layout, cut, stay, allowed, [worker["nthreads"] for worker in workers])
            stay -= self._common
            self._batches = {batch: tuple(index for index in batch if index in stay) for batch in cut}
            self._looked = time.monotonic()
        wanted = set(self._batches.values())
        for gone in [each for each, future in self._rows.items() if each not in wanted or future.status in _GONE]:
            self._rows.pop(gone).release()  # type: ignore[no-untyped-call]  # distributed's own

    def _memory(self, workers: list[dict[str, Any]]) -> float:
        """Return the bytes that rows may take: a share of what workers have beside their own and what others keep."""
        schema = self._layout.source.schema
        rows = sum(self._layout.blocks[index].rows for each in self._rows for index in each)
        ours = rows * schema.features * schema.dtype.itemsize
        kept: int = sum(worker["metrics"].get("managed_bytes", 0) for worker in workers)
        free = sum(_free(worker, self._layout.working) for worker in workers)
        return max(0.0, free - max(0, kept - ours))

    def _sources(self, attempt: int) -> list[Parcel | Future[Any]]:
        if self._source is not None:
            return [self._source]
        workers = len(self._client.nthreads()) or 1
        copies = workers if fewer_than_cliff(len(self._layout.blocks), self._client) else 1
        return [self._keep("src", copy, self._layout.source, attempt) for copy in range(copies)]

    def _sent(self, indices: Indices, attempt: int) -> Parcel | Future[Any]:
        """Return blocks as they travel inside a task or, where they are large, have travelled."""
        packed = self._packed(indices)
        return self._keep("load", indices, self._bare(indices), attempt) if packed is None else packed

    def _packed(self, indices: Indices) -> Parcel | None:
        """Return blocks as they travel inside a task, or None where they are large; they are packed once."""
        if indices not in self._parcels:
            self._parcels[indices] = small_parcel(self._bare(indices))
        return self._parcels[indices]

    def _bare(self, indices: Indices) -> tuple[Block, ...]:
        return bare_blocks(self._layout.blocks[index] for index in indices)

    def _keep(self, prefix: str, number: Hashable, value: Any, attempt: int) -> Future[Any]:
        future = self._kept.get((prefix, number))
        if future is None or future.status in _GONE:
            key = (f"{prefix}-{self._run}-{attempt}", number)  # a new key: deaths are counted over a key's life
            with large_graphs():
                future = self._client.submit(keep, value, key=key, pure=False)
                self._kept[prefix, number] = future
        return future
