"""The Reducer over a Dask cluster: one task a block, a fixed tree of tasks, every pass under fresh keys.

Keys are ``("est-<run>-<attempt>-<pass>", block)`` and ``("mrg-<run>-<attempt>-<pass>-<level>", node)``: the dashboard
shows the bars ``est`` and ``mrg``, and each pass is a task group of its own, so that the scheduler's rule for groups
much larger than the cluster looks at one pass alone.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from distributed import CancelledError, Client, KilledWorker

from dask_em.errors import ClusterError, InputError
from dask_em.execution import preferences
from dask_em.execution.environment import differences
from dask_em.execution.resident import Argument, Resident, fewer_than_cliff, whole_arguments
from dask_em.execution.tasks import BlockTask, Graph, keep, large_graphs, parcel, small_parcel
from dask_em.execution.watchdog import ConnectionLostError, StandstillError, Watch, answers, noticing_loss
from dask_em.reduction import Sink, add_up, merge, require_blocks, tree, write_whole
from dask_em.rows import Rows
from dask_em.statistics import Manifest
from dask_em.storage.blocks import Layout

__all__ = ["DaskReducer"]

V = TypeVar("V")
ATTEMPTS = 3  # at each pass
AHEAD = 4  # blocks for each thread that wait for their turn where the driver adds up
MENDED = (KilledWorker, CancelledError, StandstillError, ConnectionLostError)  # by another attempt
MEANWHILE = 0.1  # seconds, in which the next pass begins: a client's message waits up to 10 ms for one just sent
DIED = "A block may need more memory than a worker has: give the workers more memory or fewer threads"
STOOD_STILL = "A worker may hang where it reads: restart such a worker, or raise patience where blocks take longer"

logger = logging.getLogger("dask_em")


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

    def block(self, batch: Argument) -> Hashable:
        group = "-common" if batch.anywhere else ""  # the scheduler gives out one by one what groups have no need for
        return (f"{self.prefix}-{self.name}{group}", batch.batch.start)

    def node(self, level: int, index: int) -> Hashable:
        return (f"mrg-{self.name}-{level}", index)


class DaskReducer:
    """A Reducer over a Dask cluster.

    Small parameters travel inside each task. Rows in memory travel once and stay on the workers until :meth:`close`;
    a block whose worker dies is made again. A pass that loses too many workers, or in which nothing moves for
    ``patience`` seconds, is tried again; the last attempt, and each after a standstill, adds up on the driver, in the
    same tree.

    Raises
    ------
    InputError
        The data has no rows.
    ClusterError
        From ``total`` and ``write``: the cluster failed three times, or its scheduler is gone.
    """

    def __init__(
        self,
        layout: Layout,
        client: Client,
        patience: float | None = None,
        keep: float | None = None,
        strict: bool = False,
    ) -> None:
        require_blocks(layout)
        self.layout = layout
        self.environments: frozenset[str] = frozenset()  # of the workers, seen so far
        self._client: Any = client  # its methods have no types
        self._address = client.scheduler.address  # type: ignore[union-attr]  # one that lost its scheduler forgets it
        self._patience = preferences.patience() if patience is None else patience
        self._strict = strict
        self._news: list[str] = []
        self._run = f"0{uuid.uuid4().hex[:12]}"  # the digit keeps the dashboard from reading it as part of a name
        self._passes = count()
        self._resident = Resident(client, layout, self._run, preferences.resident() if keep is None else keep)

    def total(self, kernel: Callable[[Rows], V]) -> V:
        """See :class:`~dask_em.reduction.Reducer`."""
        value: V = self._attempts("est", kernel, None)
        return value

    def write(self, kernel: Callable[[Rows], np.ndarray[Any, Any]], sink: Sink) -> Manifest:
        """See :class:`~dask_em.reduction.Reducer`."""
        return write_whole(sink, lambda: self._attempts("put", kernel, sink))

    def news(self) -> tuple[str, ...]:
        """See :class:`~dask_em.reduction.Reducer`."""
        news, self._news = tuple(self._news), []
        return news

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
        still: list[frozenset[str]] = []  # workers on which tasks stood still, by attempt
        while True:
            this = _Pass(prefix, self._run, attempt, number)
            try:
                if attempt < ATTEMPTS and not still:
                    told = self._by_tree(this, kernel, sink)
                else:
                    told = self._by_driver(this, partial(self._task, kernel=parcel(kernel), sink=sink), still)
            except MENDED as error:
                self._require_another(this, error)
                attempt += 1
                if isinstance(error, StandstillError):  # a worker may hang, or a link be cut between two
                    still.append(error.workers)
            else:
                self._news += told.notes
                self._compare(told.environments)
                return told.value

    def _require_another(self, failed: _Pass, error: BaseException) -> None:
        """Tell why an attempt failed; refuse another where the cluster is gone, or had enough of them."""
        reason, source = " ".join(str(getattr(error, "reason", error)).split()), self.layout.source.name
        if not answers(self._client, self._patience):
            raise ClusterError(
                f"the Dask scheduler at {self._address} is gone or out of reach, in pass {failed.number} over {source} "
                f"({reason}). Checkpoints, where the fit keeps any, are whole: start a cluster again and resume"
            ) from error
        if failed.attempt == ATTEMPTS:
            remedy = STOOD_STILL if isinstance(error, StandstillError) else DIED
            raise ClusterError(
                f"the cluster could not finish pass {failed.number} over {source}: {reason} (attempt {ATTEMPTS} of "
                f"{ATTEMPTS}). {remedy}, and look into their logs"
            ) from error
        self._news.append(f"attempt {failed.attempt} of {ATTEMPTS} failed and was made again: {reason}")
        logger.warning(
            "pass %d, attempt %d of %d failed, trying again: %s",
            failed.number,
            failed.attempt,
            ATTEMPTS,
            reason,
            extra={"event": "pass tried again", "pass": failed.number, "attempt": failed.attempt},
        )

    def _compare(self, environments: frozenset[str]) -> None:
        """Tell once, or refuse, that workers' arithmetic differs."""
        seen = self.environments | environments
        if len(seen) > 1 and seen != self.environments:
            what = f"the workers' arithmetic differs ({differences(seen)}), so that the last bits of a fit may too"
            if self._strict:
                raise InputError(f"{what}; make the workers alike, or allow it with reproducible: warn")
            self._news.append(what)
            logger.warning(what, extra={"event": "environments differ"})
        self.environments = seen

    def _by_tree(self, this: _Pass, kernel: Callable[[Rows], Any], sink: Sink | None) -> Any:
        watch = Watch(self._client, self._run, self._patience)
        with noticing_loss():
            arguments = list(self._resident.arguments(this.attempt, sink is None))
            graph, reads, root_key = self._graph(this, arguments, kernel, sink)
            order = self._order(this, arguments)
            with large_graphs():
                root, *read = self._client.get(graph, [root_key, *reads.values()], sync=False, priority=order)
        for batch, rows in zip(reads, read, strict=True):
            self._resident.took(batch, rows)
        try:
            told = watch.result(root)
        except BaseException:
            root.release()
            raise
        self._client.loop.add_callback(self._client.loop.call_later, MEANWHILE, root.release)
        return told

    def _order(self, this: _Pass, arguments: Sequence[Argument]) -> Callable[[Hashable], int] | int:
        """Return priorities of tasks: of what any worker can do, the largest comes first, so that ends are short.

        All of it precedes what only one can do, which that one has been given at once; the others wait for their turn.
        Rows that are yet to be read lie nowhere: a pass that reads some has Dask's own order.
        """
        blocks, shared = self.layout.blocks, [each for each in arguments if each.anywhere]
        if not shared or any(each.read is not None for each in arguments):
            return 0
        shared.sort(key=lambda each: -blocks[each.batch.start].rows)
        order = defaultdict(int, {this.block(each): len(shared) - turn for turn, each in enumerate(shared)})
        return order.__getitem__  # called on the scheduler: it is sent there by pickle

    def _graph(
        self, this: _Pass, arguments: Sequence[Argument], kernel: Callable[[Rows], Any], sink: Sink | None
    ) -> tuple[Graph, dict[range, Hashable], Hashable]:
        """Return the tasks of a pass, the keys of those that read what stays, by batch, and the key of the sum."""
        graph = Graph(this.name)
        packed = small_parcel(kernel)
        if packed is not None or fewer_than_cliff(len(arguments), self._client):
            kernel_argument: Any = packed or parcel(kernel)
        else:
            kernel_argument = (f"par-{this.name}", 0)
            graph[kernel_argument] = (keep, parcel(kernel))
        reads: dict[range, Hashable] = {}
        tasks: dict[range, Hashable] = {}
        for argument in arguments:
            if argument.read is not None:
                graph[argument.kept] = argument.read
                reads[argument.batch] = argument.kept
            tasks[argument.batch] = key = this.block(argument)
            graph[key] = self._task(argument, kernel_argument, sink)
        return graph, reads, self._sum(graph, this, tasks)

    def _sum(self, graph: Graph, this: _Pass, tasks: dict[range, Hashable]) -> Hashable:
        """Add the tasks that add up what batches return, by batch, and return the key of the sum."""
        first = {batch.start: key for batch, key in tasks.items()}
        keys = [first.get(index) for index in range(len(self.layout.blocks))]
        for level, nodes in enumerate(tree(len(keys)), 1):
            parts, keys = keys, []
            for index, node in enumerate(nodes):
                if level == 1 and node in tasks:
                    keys.append(parts[node.start])
                else:
                    keys.append(this.node(level, index))
                    graph[keys[-1]] = (add_up, [parts[part] for part in node])
        return keys[0]

    def _by_driver(self, this: _Pass, task: Callable[[Argument], tuple[Any, ...]], still: list[frozenset[str]]) -> Any:
        """Add up here, a few blocks ahead; no task needs another's value, and workers that stood still are avoided.

        Where all stood still once, only those of the latest attempt are: a tree's task may wait for another worker's.
        """
        self._resident.release()  # what stays may never come, or lie where nobody can fetch it
        with noticing_loss():
            threads = self._client.nthreads()
        candidates = (threads.keys() - avoided for avoided in (frozenset().union(*still), *still[-1:]))
        chosen = next(filter(None, candidates), set[str]())
        if len(chosen) == len(threads):
            chosen = set()  # others may come
        watch = Watch(self._client, self._run, self._patience, chosen=bool(chosen))
        ahead = AHEAD * max(1, sum(threads[worker] for worker in chosen or threads))

        def submit(argument: Argument) -> Any:
            key = this.block(argument)
            with noticing_loss(), large_graphs():
                return self._client.submit(*task(argument), key=key, pure=False, workers=list(chosen) or None)

        def arriving() -> Generator[Any]:
            waiting: deque[Any] = deque()
            try:
                for argument in whole_arguments(self.layout):
                    waiting.append(submit(argument))
                    if len(waiting) == ahead:
                        yield watch.result(waiting[0])
                        waiting.popleft().release()
                while waiting:
                    yield watch.result(waiting[0])
                    waiting.popleft().release()
            finally:
                for future in waiting:
                    future.release()

        with closing(arriving()) as values:
            return merge(values)

    def _task(self, argument: Argument, kernel: Any, sink: Sink | None) -> tuple[Any, ...]:
        fresh, common, ahead = argument.read is not None, argument.common, argument.ahead
        work = BlockTask(self._run, self.layout.slab_rows, tuple(argument.held), sink, fresh, common, ahead)
        return work, kernel, argument.source, argument.blocks, argument.kept, *argument.held.values()
