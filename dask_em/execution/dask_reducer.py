"""The Reducer over a Dask cluster: one task a block, a fixed tree of tasks, every pass under fresh keys.

Keys are ``("est-<run>-<attempt>-<pass>", block)`` and ``("mrg-<run>-<attempt>-<pass>-<level>", node)``: the dashboard
shows the bars ``est`` and ``mrg``, and each pass is a task group of its own, so that the scheduler's rule for groups
much larger than the cluster looks at one pass alone.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from dask.delayed import Delayed
from distributed import CancelledError, Client, KilledWorker, wait

from dask_em.errors import DaskEMError
from dask_em.execution.resident import Argument, Resident, fewer_than_cliff
from dask_em.execution.tasks import BlockTask, keep, large_graphs, parcel, small_parcel
from dask_em.reduction import Sink, add_up, merge, require_blocks, tree, write_whole
from dask_em.rows import Rows
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Layout

__all__ = ["DaskReducer"]

V = TypeVar("V")
ATTEMPTS = 3  # at each pass
PATIENCE = 600.0  # seconds: a block takes about ten

logger = logging.getLogger("dask_em")


class _Stuck(Exception):  # noqa: N818  # told to people as DaskEMError
    pass


@dataclass(frozen=True)
class _Pass:
    """One attempt at one pass."""

    prefix: str
    run: str
    attempt: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.run}-{self.attempt}-{self.number}"

    def block(self, index: int) -> Hashable:
        return (f"{self.prefix}-{self.name}", index)

    def node(self, level: int, index: int) -> Hashable:
        return (f"mrg-{self.name}-{level}", index)


class DaskReducer:
    """A Reducer over a Dask cluster.

    Small parameters travel inside each task. Rows in memory travel once and stay on the workers until :meth:`close`;
    a block whose worker dies is made again. A pass that loses too many workers, or in which nothing moves for
    ``patience`` seconds, is tried again; the last attempt adds up on the driver, in the same tree.

    Raises
    ------
    InputError
        The data has no rows.
    DaskEMError
        From ``total`` and ``write``: the cluster failed three times, or is gone.
    """

    def __init__(self, layout: Layout, client: Client, patience: float = PATIENCE) -> None:
        require_blocks(layout)
        self.layout = layout
        self._client: Any = client  # its methods have no types
        self._patience = patience
        self._run = f"0{uuid.uuid4().hex[:12]}"  # the digit keeps the dashboard from reading it as part of a name
        self._passes = count()
        self._resident = Resident(client, layout, self._run)

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """See :class:`~dask_em.reduction.Reducer`."""
        value: V = self._attempts("est", kernel, None)
        return value

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """See :class:`~dask_em.reduction.Reducer`."""
        return write_whole(sink, lambda: self._attempts("put", kernel, sink))

    def close(self) -> None:
        """Let the cluster forget the rows that it holds."""
        self._resident.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _attempts(self, prefix: str, kernel: Callable[[Rows], Any], sink: Sink | None) -> Any:
        number, attempt = next(self._passes), 1
        while True:
            this = _Pass(prefix, self._run, attempt, number)
            try:
                return (self._by_tree if attempt < ATTEMPTS else self._by_driver)(this, kernel, sink)
            except (KilledWorker, CancelledError, _Stuck) as error:
                reason = " ".join(str(error).split())
                if attempt == ATTEMPTS or self._client.status != "running":
                    raise DaskEMError(
                        f"the cluster could not finish pass {number} over {self.layout.source.name}: {reason} "
                        f"(attempt {attempt} of {ATTEMPTS}). A block may need more memory than a worker has: give "
                        "the workers more memory or fewer threads, and look into their logs"
                    ) from error
                logger.warning("pass %d, attempt %d of %d failed, trying again: %s", number, attempt, ATTEMPTS, reason)
                attempt += 1

    def _by_tree(self, this: _Pass, kernel: Callable[[Rows], Any], sink: Sink | None) -> Any:
        graph: dict[Hashable, Any] = {}
        packed = small_parcel(kernel)
        blocks = len(self.layout.blocks)
        if packed is not None or fewer_than_cliff(blocks, self._client):
            kernel_argument: Any = packed or parcel(kernel)
        else:
            kernel_argument = (f"par-{this.name}", 0)
            graph[kernel_argument] = (keep, parcel(kernel))
        for argument in self._resident.arguments(this.attempt):
            graph[this.block(argument.index)] = self._task(argument, kernel_argument, sink)
        keys = [this.block(block.index) for block in self.layout.blocks]
        for level, nodes in enumerate(tree(blocks), 1):
            parts, keys = keys, [this.node(level, index) for index in range(len(nodes))]
            graph.update({keys[i]: (add_up, [parts[j] for j in node]) for i, node in enumerate(nodes)})
        with large_graphs():
            sums = Delayed(keys[0], graph)  # type: ignore[no-untyped-call]  # dask's own
            root = self._client.compute(sums, optimize_graph=False)
        try:
            self._wait(root, this)
            return root.result()
        finally:
            root.release()

    def _by_driver(self, this: _Pass, kernel: Callable[[Rows], Any], sink: Sink | None) -> Any:
        packed = parcel(kernel)
        futures: list[Any] = []
        try:
            for argument in self._resident.arguments(this.attempt):
                task = self._task(argument, packed, sink)
                with large_graphs():
                    futures.append(self._client.submit(*task, key=this.block(argument.index), pure=False))
            return merge(self._arriving(futures, this))
        finally:
            for future in futures:
                future.release()

    def _arriving(self, futures: list[Any], this: _Pass) -> Iterator[Any]:
        for future in futures:
            self._wait(future, this)
            yield future.result()
            future.release()

    def _task(self, argument: Argument, kernel: Any, sink: Sink | None) -> tuple[Any, ...]:
        work = BlockTask(self._run, self.layout.slab_rows, tuple(argument.held), sink)
        return work, kernel, argument.source, argument.block, *argument.held.values()

    def _wait(self, future: Any, this: _Pass) -> None:
        """Wait, and notice when a pass that workers have taken up stands still."""
        before: frozenset[Any] = frozenset()
        while True:
            try:
                with self._client.as_current():  # the client need not be the user's default one
                    wait(future, timeout=self._patience)  # type: ignore[no-untyped-call]  # distributed's own
            except TimeoutError:
                busy = {key for keys in self._client.processing().values() for key in keys}
                now = frozenset(key for key in busy if isinstance(key, tuple) and this.name in str(key[0]))
                if now and now == before:
                    raise _Stuck(f"nothing moved for {self._patience:g} seconds") from None
                if not now:
                    logger.warning("pass %d waits: the cluster runs nothing of it; are there workers?", this.number)
                before = now
            else:
                return
