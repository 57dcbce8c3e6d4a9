"""The local executor: blocks over a pool of threads, sums in the fixed tree."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from dask_em.errors import InputError
from dask_em.execution.blas import limit_this_thread
from dask_em.reduction import Memory, Sink, merge, require_blocks, total_of_blocks, write_blocks, write_whole
from dask_em.rows import Rows
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Block, Layout, Reader

__all__ = ["Threads", "cores"]

V = TypeVar("V")
AHEAD = 2  # blocks submitted for each thread: it never waits for the next one, and few values wait for their turn


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Stopped(Exception):  # noqa: N818  # no error: the pass was given up, and nobody sees this
    pass


class Threads:
    """A Reducer over the threads of this process: one task a block, one workspace a thread, one core a thread.

    One more thread than compute at a time reads the block that comes next, where rows have to be read. ``keep`` bytes
    of rows may stay in memory between passes.

    Raises
    ------
    InputError
        The data has no rows, or ``threads`` is less than one.
    """

    def __init__(self, layout: Layout, threads: int | None = None, keep: float = 0.0) -> None:
        require_blocks(layout)
        if threads is not None and threads < 1:
            raise InputError(f"threads={threads} cannot compute; give at least 1, or leave it out for one a core")
        self.layout = layout
        self.threads = threads or cores()
        self._computing = threading.Semaphore(self.threads)
        self._places = self.threads + (not all(block.in_memory for block in layout.blocks))
        self._all = tuple(Reader(layout.source, layout.slab_rows) for _ in range(self._places))
        self._free: SimpleQueue[Reader] = SimpleQueue()
        for reader in self._all:
            self._free.put(reader)
        self._memory = Memory(layout, keep)

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """See :class:`~dask_em.reduction.Reducer`."""

        def summarize(reader: Reader, block: Block, kernel: Callable[[Rows], V]) -> V:
            return total_of_blocks(kernel, reader, [self._memory.block(reader, block)])

        return merge(self._in_order(summarize, kernel))

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """See :class:`~dask_em.reduction.Reducer`."""

        def write(reader: Reader, block: Block, kernel: Callable[[Rows], np.ndarray[Any, Any]]) -> Manifest:
            return write_blocks(kernel, reader, [block], sink)

        return write_whole(sink, lambda: merge(self._in_order(write, kernel)))

    def news(self) -> tuple[str, ...]:
        """See :class:`~dask_em.reduction.Reducer`."""
        return tuple(note for reader in self._all for note in reader.retrying.told())

    def _in_order(
        self, task: Callable[[Reader, Block, Callable[[Rows], Any]], V], kernel: Callable[[Rows], Any]
    ) -> Iterator[V]:
        """Yield a task's value for every block, in order; whatever ends the pass early ends its threads."""
        stop = threading.Event()

        def guarded(rows: Rows) -> Any:
            with self._computing:
                if stop.is_set():
                    raise _Stopped
                return kernel(rows)

        def run(block: Block) -> V:
            reader = self._free.get()
            try:
                return task(reader, block, guarded)
            finally:
                self._free.put(reader)

        waiting: deque[Future[V]] = deque()
        try:
            for block in self.layout.blocks:
                waiting.append(self._pool.submit(run, block))
                if len(waiting) == AHEAD * self._places:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            stop.set()
            for reader in self._all:
                reader.retrying.stopped.set()
            self.__dict__.pop("_pool").shutdown(wait=True, cancel_futures=True)
            raise

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """The threads, which live from pass to pass and end with this reducer."""
        return ThreadPoolExecutor(self._places, "dask_em", limit_this_thread)
