"""Which worker a block goes to, where Dask would give all of them to one.

Tasks that share a dependency, and are not more than twice as many as all threads, go to the worker that has it, however
small it is. Dask is told better ones, and may still choose others: workers die, or fall behind.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from heapq import heapify, heapreplace

__all__ = ["Placed", "deal", "fewer_than_cliff"]


@dataclass(frozen=True)
class Placed:
    """Where tasks should go, by key: an annotation that the scheduler calls."""

    workers: Mapping[Hashable, str]

    def __call__(self, key: Hashable) -> list[str]:
        return [self.workers[key]] if key in self.workers else []


def fewer_than_cliff(tasks: int, threads: Mapping[str, int]) -> bool:
    """Say whether so few tasks, on workers with so many threads each, would all go to one worker."""
    return tasks <= 2 * sum(threads.values())


def deal(blocks: int, threads: Mapping[str, int], staying: Mapping[int, str | None]) -> dict[int, str]:
    """Return blocks' workers, as many blocks for each thread.

    ``threads`` is how many each worker has. ``staying`` names the blocks whose rows are on the cluster, and the worker
    that has them: they stay there, and where that is not known any more, Dask knows.
    """
    places = {block: worker for block, worker in staying.items() if worker is not None and worker in threads}
    shares = {worker: 0 for worker, number in threads.items() if number}
    for worker in places.values():
        shares[worker] += 1
    least = [(share / threads[worker], turn, worker) for turn, (worker, share) in enumerate(shares.items())]
    heapify(least)
    for block in range(blocks if least else 0):
        if block not in staying:
            share, turn, worker = least[0]
            places[block] = worker
            heapreplace(least, (share + 1 / threads[worker], turn, worker))
    return places
