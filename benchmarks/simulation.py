"""One pass of a plan, simulated event by event: blocks, the tree of sums, a scheduler that does one thing at a time.

What is computed, and in which order it may be, is the plan's own: its blocks, their bytes, ``reduction.tree``. What is
simulated is who does it when. In words, in the order in which it happens:

1. The driver makes the graph and the scheduler takes it in, so many seconds a task, before any block begins.
2. The scheduler sends blocks, in their order, to workers of one thread; each may have :data:`SLOTS` that are not done.
   To send a task and to note that it is done take half of ``Constants.event`` each, one after another for all workers.
3. Each block carries its own copy of the parameters. Those of over :data:`~dask_em.execution.tasks.INLINE` bytes are
   fetched by each worker from another that has them instead, where blocks are more than twice the workers.
4. A block takes the longer of reading and of decoding and computing. All that read share the store evenly.
5. A sum of the tree goes to a worker that holds one of its parts, and fetches the others; it waits for the block that
   the worker computes, and comes before the next.

Left out: deaths, other people's work, unequal links, the scheduler's memory, and what stealing work costs: a worker
that has nothing to do takes any block that has not begun.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf, log2

from dask_em.execution.tasks import INLINE
from dask_em.plan import Plan
from dask_em.reduction import staying, tree

__all__ = ["SLOTS", "Constants", "Model", "Pass", "Site", "Work", "simulate", "work_of"]

SLOTS = 2  # blocks that a worker of one thread is given: Dask's worker-saturation of 1.1, rounded up
SLOW_ONE_IN = 100  # workers, where some are slow


@dataclass(frozen=True)
class Constants:
    """What tasks, sums and bytes cost. Zero costs nothing."""

    begin: float = 0.0  # seconds before the first block of a pass, however few there are
    submit: float = 0.0  # seconds for each task of the graph, before the first block
    carried: float = 0.0  # seconds for each byte of parameters that blocks carry, before the first block
    event: float = 0.0  # seconds of the scheduler for each task, to send it and to note that it is done
    hop: float = 0.0  # seconds from the scheduler to a worker, or back
    task: float = 0.0  # seconds that a worker takes for a task beside the work in it
    add: float = 0.0  # seconds for each byte of statistics added to others
    transfer: float = inf  # bytes a second between two processes, pickled and unpickled
    decode: float = inf  # bytes a second, decoded, of one core
    stored: float = 1.0  # bytes at rest for each byte decoded


@dataclass(frozen=True)
class Model:
    """What is fitted."""

    columns: int
    components: int
    flops: float = inf  # a second of one core
    parameters: int = 0  # bytes of what travels down
    driver: float = 0.0  # seconds between two passes over the rows: the M-step, the next proposal


@dataclass(frozen=True)
class Site:
    """Where it is fitted: workers of one thread and one core each."""

    workers: int
    store_each: float = inf  # bytes a second that a worker reads at most
    store_total: float = inf  # bytes a second that all of them read at most
    network: float = inf  # bytes a second of one worker's link, and of the scheduler's
    keep: float = 0.0  # bytes of rows that stay in memory between passes, over all workers
    slow: float = 1.0  # times as long as others take, of one worker in SLOW_ONE_IN


@dataclass(frozen=True)
class Work:
    """What each block takes of a worker."""

    computing: tuple[float, ...]  # seconds of one core
    reading: tuple[float, ...]  # bytes at rest
    sums: int  # bytes of the value of each


@dataclass(frozen=True)
class Pass:
    """What a simulated pass took."""

    seconds: float
    tasks: int
    submitting: float  # seconds before the first block
    computing: float  # seconds of all workers in tasks
    scheduling: float  # seconds in which the scheduler was busy after that
    blocks_done: float  # when the last block was, in seconds from the beginning


def work_of(planned: Plan, model: Model, constants: Constants, site: Site) -> Work:
    """Return what the plan's blocks take: those that stay in memory are not read, and not decoded."""
    kept = staying(planned.layout, site.keep)
    blocks = planned.layout.blocks
    nbytes = [0 if block.index in kept else sum(piece.nbytes for piece in block.pieces) for block in blocks]
    computing = (planned.size.flops(block.rows) / model.flops for block in blocks)
    return Work(
        tuple(seconds + size / constants.decode for seconds, size in zip(computing, nbytes, strict=True)),
        tuple(size * constants.stored for size in nbytes),
        planned.size.statistics_bytes,
    )


def simulate(planned: Plan, work: Work, constants: Constants, site: Site, model: Model | None = None) -> Pass:
    """Return what a pass over the plan's blocks takes; without ``model`` its parameters weigh nothing."""
    return _Run(planned, work, constants, site, model or Model(0, 0)).finished()


@dataclass
class _Worker:
    """One thread, and what waits for it."""

    slow: float
    ready: float  # when it has the parameters
    credit: int = 0  # blocks that it was sent and has not begun
    busy: bool = False
    sums: deque[int] = field(default_factory=deque)  # whose parts are all there
    computed: float = 0.0  # when it will have computed the block that it reads


class _Store:
    """Reads that go on at the same time share it evenly: how much each of them has read is a clock of its own."""

    def __init__(self, each: float, total: float) -> None:
        self.each, self.total, self.clock, self.now, self.version = each, total, 0.0, 0.0, 0
        self.readers: list[tuple[float, int]] = []  # the clock where a block's read ends, and the block

    def begin(self, now: float, block: int, nbytes: float) -> None:
        self._until(now)
        heappush(self.readers, (self.clock + nbytes, block))

    def end(self, now: float) -> int:
        """Return the block whose read ends now."""
        self._until(now)
        self.clock, block = heappop(self.readers)
        return block

    @property
    def next(self) -> float:
        """When the next read ends, if no other begins."""
        return self.now + (self.readers[0][0] - self.clock) / self._speed

    @property
    def _speed(self) -> float:
        return min(self.each, self.total / max(1, len(self.readers)))

    def _until(self, now: float) -> None:
        if self.readers:
            self.clock += (now - self.now) * self._speed
        self.now = now
        self.version += 1


class _Run:
    """The state of a simulated pass: a clock that jumps from event to event."""

    def __init__(self, planned: Plan, work: Work, constants: Constants, site: Site, model: Model) -> None:
        self.work, self.constants, self.blocks = work, constants, len(planned.layout.blocks)
        self.store = _Store(site.store_each, site.store_total)
        self.reads = site.store_each < inf or site.store_total < inf
        self.statistics, self.link = work.sums, min(constants.transfer, site.network)
        self.parents, self.parts = _tree(self.blocks)
        self.missing = {number: len(parts) for number, parts in self.parts.items()}
        self.holder: dict[int, int] = {}
        self.unsent, self.next_block = self.blocks, 0
        self.events: list[tuple[float, bool, int, str, int, int]] = []
        self.count = self.tasks = self.arrived = 0
        self.computing = self.scheduling = self.blocks_done = 0.0
        fetched = model.parameters > INLINE and self.blocks > 2 * site.workers
        carried = 0.0 if fetched else constants.carried * model.parameters * self.blocks
        self.now = self.free = self.submitting = constants.begin + constants.submit * planned.tasks + carried
        self.copied = 0.0 if fetched else model.parameters / self.link
        handed = (
            model.parameters / self.link + 2 * constants.hop if fetched else 0.0
        )  # after each twice as many have them
        self.workers = [
            _Worker(site.slow if (i + 1) % SLOW_ONE_IN == 0 else 1.0, self.now + handed * (1 + int(log2(i + 1))))
            for i in range(site.workers)
        ]

    def finished(self) -> Pass:
        """Run it to its end."""
        for _ in range(SLOTS):
            for worker in range(min(len(self.workers), self.unsent)):
                self._send_block(worker)
        handlers = {"arrived": self._arrived, "read": self._read, "done": self._done, "noted": self._noted}
        while self.events:
            self.now, _, _, kind, worker, task = heappop(self.events)
            handlers[kind](worker, task)
        end = self.free + 2 * self.constants.hop + 2 * self.statistics / self.link  # the scheduler hands on the sum
        return Pass(end, self.tasks, self.submitting, self.computing, self.scheduling, self.blocks_done)

    def _at(self, when: float, kind: str, worker: int, task: int) -> None:
        self.count += 1
        heappush(self.events, (when, kind != "arrived", self.count, kind, worker, task))

    def _scheduled(self, more: float = 0.0) -> float:
        """Keep the scheduler busy for half a task, and return when it is done with it."""
        took = self.constants.event / 2 + more
        self.free = max(self.free, self.now) + took
        self.scheduling += took
        return self.free

    def _send_block(self, worker: int) -> None:
        if self.unsent:
            self.unsent -= 1
            sent = self._scheduled(self.copied) + self.constants.hop
            self._at(max(sent, self.workers[worker].ready), "arrived", worker, -1)

    def _arrived(self, number: int, task: int) -> None:
        """Note that a worker may begin a block, or has the parts of a sum."""
        worker = self.workers[number]
        if task < 0:
            worker.credit += 1
            self.arrived += 1
        else:
            worker.sums.append(task)
        self._begin(number)

    def _begin(self, number: int) -> None:
        """Let an idle worker begin what waits for it: sums first."""
        worker = self.workers[number]
        if worker.busy:
            return
        if worker.sums:
            task = worker.sums.popleft()
            seconds = self.constants.add * self.statistics * (len(self.parts[task]) - 1)
        elif self.arrived > self.next_block and (worker.credit or not self.unsent):
            worker.credit = max(0, worker.credit - 1)  # where none is its own, it is another's that has not begun
            task, self.next_block = self.next_block, self.next_block + 1
            seconds = self.work.computing[task]
        else:
            return
        took = (seconds + self.constants.task) * worker.slow
        worker.busy, worker.computed = True, self.now + took
        self.computing += took
        if self.reads and task < self.blocks and self.work.reading[task]:
            self.holder[task] = number
            self.store.begin(self.now, task, self.work.reading[task])
            self._at(self.store.next, "read", number, self.store.version)
        else:
            self._at(worker.computed, "done", number, task)

    def _read(self, _: int, version: int) -> None:
        """End a block's read, unless other reads began or ended since this was foreseen."""
        if version != self.store.version:
            return
        block = self.store.end(self.now)
        number = self.holder[block]
        self._at(max(self.now, self.workers[number].computed), "done", number, block)
        if self.store.readers:
            self._at(self.store.next, "read", number, self.store.version)

    def _done(self, number: int, task: int) -> None:
        """End a task: the scheduler will hear of it, the worker goes on."""
        self.workers[number].busy = False
        self.tasks += 1
        self.holder[task] = number
        if task < self.blocks:
            self.blocks_done = self.now
        self._at(self.now + self.constants.hop, "noted", number, task)
        self._begin(number)

    def _noted(self, number: int, task: int) -> None:
        """Let the scheduler know: it sends another block to the worker, and a sum that waited for this part."""
        self._scheduled()
        if task < self.blocks:
            self._send_block(number)
        parent = self.parents.get(task)
        if parent is None:
            return
        self.missing[parent] -= 1
        if not self.missing[parent]:
            holders = [self.holder[part] for part in self.parts[parent]]
            chosen = next((holder for holder in holders if not self.workers[holder].busy), number)
            others = sum(holder != chosen for holder in holders)
            fetched = 2 * self.constants.hop + others * self.statistics / self.link if others else 0.0
            self._at(self._scheduled() + self.constants.hop + fetched, "arrived", chosen, parent)


def _tree(blocks: int) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Return the tree of sums by task number, blocks first: each task's parent, and the parts of each sum."""
    parents: dict[int, int] = {}
    parts: dict[int, list[int]] = {}
    below = list(range(blocks))
    for level in tree(blocks):
        above = range(blocks + len(parts), blocks + len(parts) + len(level))
        for number, node in zip(above, level, strict=True):
            parts[number] = [below[i] for i in node]
            parents.update(dict.fromkeys(parts[number], number))
        below = list(above)
    return parents, parts
