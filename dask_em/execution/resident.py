"""What stays on the cluster for the life of a reducer: rows in memory, and a source too large to travel often."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future

from dask_em.execution.tasks import Parcel, held_by, keep, large_graphs, small_parcel, without_held
from dask_em.storage.blocks import Block, Layout

__all__ = ["Argument", "Resident", "fewer_than_cliff"]


@dataclass(frozen=True)
class Argument:
    """What a block's task is called with."""

    index: int
    source: Parcel | Future[Any]
    block: Parcel | Future[Any]
    held: dict[Hashable, Future[Any]]  # of the user's own, already on the cluster


def fewer_than_cliff(tasks: int, client: Any) -> bool:
    """Say whether so few tasks share a small dependency that the scheduler would give all of them to one worker."""
    threads: int = sum(client.nthreads().values())
    return tasks <= 2 * threads


class Resident:
    """Values made by tasks of their own, once: the scheduler has them made again where a worker dies."""

    def __init__(self, client: Client, layout: Layout, run: str) -> None:
        self._client: Any = client  # its methods have no types
        self._layout = layout
        self._run = run
        self._kept: dict[str, Future[Any]] = {}
        self._parcels: dict[int, Parcel | None] = {}
        self._source = small_parcel(layout.source)

    def arguments(self, attempt: int) -> Iterator[Argument]:
        """Yield what each block's task is called with, in order of blocks; what is not there yet is sent."""
        sources = self._sources(attempt)
        for block in self._layout.blocks:
            held = held_by([piece.atom for piece in block.pieces])
            yield Argument(block.index, sources[block.index % len(sources)], self._block(block, attempt), held)

    def release(self) -> None:
        """Let the cluster forget everything."""
        for future in self._kept.values():
            future.release()  # type: ignore[no-untyped-call]  # distributed's own
        self._kept.clear()

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
        if future is None or future.status in {"error", "cancelled", "lost"}:
            key = (f"{prefix}-{self._run}-{attempt}", number)  # a new key: deaths are counted over a key's life
            with large_graphs():
                future = self._kept[name] = self._client.submit(keep, value, key=key, pure=False)
        return future


def _bare(block: Block) -> Block:
    pieces = tuple(dataclasses.replace(piece, atom=without_held(piece.atom)) for piece in block.pieces)
    return dataclasses.replace(block, pieces=pieces)
