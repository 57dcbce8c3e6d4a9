"""What scale.py measures on this machine: the constants of a simulation, and passes to hold it to."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import numpy as np
import psutil
from distributed import Client, Worker
from engine import cluster
from out_of_core import make
from simulation import Constants, Model

from dask_em import Atom, GaussianMixture, open_source
from dask_em.estimators.reading import HERE
from dask_em.execution import single_threaded_blas
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.kernel import summarize
from dask_em.plan import BLOCK_BYTES, ModelSize, Plan, plan
from dask_em.reduction import ARITY, Serial, add_up
from dask_em.rows import Rows, Schema
from dask_em.statistics import Extremes

__all__ = ["Declared", "Held", "constants", "model_of", "models", "of_blocks", "prepared", "serving", "slept", "store"]

TRIES = 5  # the least counts: others may use the machine meanwhile
SHAPES = ((16, 16), (64, 200))  # columns, components
LINKS = 200  # of the chain that a hop is measured with
GATE = 3.0  # seconds in which the scheduler takes a graph in before the first block ends
FEW, MANY = 100, 2000  # blocks
INLINED = 36_000  # bytes of parameters that travel inside each task
LARGE = 32 * 2**20  # bytes
QUIET = {  # workers who share a process would watch one another's threads, a hundred times a second each
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}
TINY = ModelSize(1, 15)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no module of the workers


@dataclass(frozen=True)
class Declared:
    """Rows that are told of, so that they can be planned; what is read of them are zeros."""

    columns: int
    rows: int
    unit_rows: int
    unit_bytes: int | None = None  # None: what so many rows take
    name: str = "rows that are only declared"

    @property
    def schema(self) -> Schema:
        """See :class:`dask_em.Source`."""
        return Schema(self.columns, np.dtype(np.float32))

    def atoms(self) -> list[Atom]:
        """See :class:`dask_em.Source`."""
        starts = range(0, self.rows, self.unit_rows)
        sizes = [min(self.unit_rows, self.rows - start) for start in starts]
        return [Atom(n, self.unit_bytes or 4 * n * self.columns, f"unit {i}") for i, n in enumerate(sizes)]

    def load(self, atom: Atom, rows: slice = slice(None)) -> Rows:
        """See :class:`dask_em.Source`."""
        return Rows.of(np.zeros((len(range(*rows.indices(atom.rows or 0))), self.columns), np.float32))


def of_blocks(blocks: int, size: Any) -> Plan:
    """Return a plan of so many blocks of two rows, each told to be as large as a block may be."""
    source = Declared(4, 2 * blocks, 2, BLOCK_BYTES)
    return plan(source, source.atoms(), size)


@dataclass(frozen=True)
class Held:
    """A kernel that sleeps, and returns sums of some size and when each began; ``weight`` travels with it."""

    seconds: float = 0.0
    until: float = 0.0  # a time of the day
    size: int = 1  # numbers
    weight: Any = None

    def __call__(self, rows: Rows) -> Extremes:
        """Sleep."""
        began = time.time()
        time.sleep(max(self.seconds, self.until - began, 0.0))
        return Extremes(np.full(1, began), np.full(self.size, began))


def slept(planned: Plan, client: Client, kernel: Held) -> tuple[float, float]:
    """Return the seconds of a pass, and of them those before the first block began."""
    with DaskReducer(planned.layout, client, keep=0.0) as reducer:
        began, clock = time.time(), time.perf_counter()
        first = reducer.total(kernel).low[0]
        return time.perf_counter() - clock, first - began


def least(measure: Callable[[], float], tries: int = TRIES) -> float:
    """Return the least of some measurements."""
    return min(measure() for _ in range(tries))


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that something takes."""
    began = clock()
    work()
    return clock() - began


def prepared(x: np.ndarray[Any, Any], components: int) -> partial[Any]:
    """Return the kernel of a mixture that begins at some of these rows, without its tile's rows."""
    start = GaussianMixture(components, max_iter=0, init_params="random_from_data", random_state=0)
    return partial(summarize, (start.fit(x[: 20 * components])._fitted.prepare(),))


def model_of(columns: int, components: int) -> tuple[Model, float]:
    """Measure a model of full covariances: the kernel's speed, what travels down, the driver; and adding two sums."""
    rows = max(20_000, int(2e9 / (components * columns * columns)))
    x = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    mixture = GaussianMixture(components, max_iter=8, tol=0.0, init_params="random_from_data", random_state=0)
    planned = mixture.plan(x)
    kernel = partial(prepared(x, components), planned.layout.tile_rows)
    with single_threaded_blas():
        serial = Serial(planned.layout)
        total = serial.total(kernel)
        speed = planned.size.flops(rows) / least(lambda: timed(lambda: serial.total(kernel), time.thread_time))
    driver = min(iteration.entry.seconds for iteration in mixture.iterate(x[: 4 * components], client=HERE))
    data = pickle.dumps(total)
    parts = [pickle.loads(data) for _ in range(ARITY)]
    add = least(lambda: timed(lambda: add_up(parts))) / (ARITY - 1) / planned.size.statistics_bytes
    return Model(columns, components, speed, len(cloudpickle.dumps(kernel)), driver), add


def models() -> tuple[list[Model], float]:
    """Return the models of :data:`SHAPES`, and the seconds that a byte of sums takes to be added to another."""
    found = [model_of(*shape) for shape in SHAPES]
    return [model for model, _ in found], found[-1][1]


def store(folder: Path, rows: int) -> Path:
    """Return a Zarr store of so many rows x 16, made where it is not there yet."""
    path = folder / f"{rows}.zarr"
    if not path.exists():
        make(path, rows)
    return path


def decoding(path: Path) -> tuple[float, float]:
    """Return decoded bytes a second of one core, and bytes at rest for each."""
    source = open_source(path)
    atoms = source.atoms()
    source.load(atoms[0])
    seconds = least(lambda: timed(lambda: [source.load(atom) for atom in atoms], time.process_time))
    nbytes = sum(atom.nbytes for atom in atoms)
    return nbytes / seconds, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / nbytes


@contextmanager
def serving(folder: Path, processes: int, each: int) -> Iterator[tuple[Client, psutil.Process]]:
    """Start a scheduler, and processes of so many workers of one thread each, a process to a core."""
    with cluster(folder, workers=0) as (client, scheduler):
        here = [sys.executable, str(Path(__file__).resolve()), str(folder / "scheduler.json"), str(each)]
        running = [subprocess.Popen([*here, str(i)], cwd=folder, stderr=subprocess.DEVNULL) for i in range(processes)]
        try:
            client.wait_for_workers(processes * each, timeout=120)
            yield client, scheduler
        finally:
            for process in running:
                process.terminate()
                process.wait()
            (folder / "scheduler.json").unlink()


async def serve(file: str, number: int) -> None:
    """Be so many workers until the scheduler is gone."""
    dask.config.set(QUIET)
    workers = [await Worker(scheduler_file=file, nthreads=1, memory_limit=0, dashboard=False) for _ in range(number)]
    await asyncio.gather(*(worker.finished() for worker in workers))


def of_scheduler(client: Client) -> float:
    """Return the CPU seconds that the scheduler has taken so far."""
    return float(client.run_on_scheduler(time.process_time))


def of_workers(client: Client) -> float:
    """Return those of all workers."""
    return float(sum(client.run(time.process_time).values()))


def event_and_task(client: Client, planned: Plan) -> tuple[float, float]:
    """Return CPU seconds of one task: the scheduler's, once the graph is in, and a worker's, with two rows to read."""
    with DaskReducer(planned.layout, client, keep=0.0) as reducer, ThreadPoolExecutor(1) as beside:
        coming = beside.submit(reducer.total, Held(until=time.time() + GATE))
        time.sleep(GATE - 0.5)
        before = of_scheduler(client), of_workers(client)
        coming.result()
        return (of_scheduler(client) - before[0]) / planned.tasks, (of_workers(client) - before[1]) / planned.tasks


def link(client: Client) -> tuple[float, float]:
    """Return the seconds of a link in a chain of tasks that do nothing, and the worker's CPU seconds of them."""
    run = uuid.uuid4().hex
    graph: dict[Any, Any] = {(run, 0): (abs, 0)} | {(run, i): (abs, (run, i - 1)) for i in range(1, LINKS)}
    busy = of_workers(client)
    seconds = timed(lambda: client.get(graph, (run, LINKS - 1), optimize_graph=False))
    return seconds / LINKS, (of_workers(client) - busy) / LINKS


def transfer(client: Client) -> float:
    """Return bytes a second from one worker to another."""
    here, there = list(client.nthreads())[:2]

    def seconds(size: int) -> float:
        value = client.submit(np.zeros, size, np.uint8, workers=[here], pure=False)
        client.gather(client.submit(len, value, workers=[here], pure=False))
        return timed(lambda: client.gather(client.submit(len, value, workers=[there], pure=False)))

    return LARGE / max(1e-6, least(lambda: seconds(LARGE)) - least(lambda: seconds(1)))


def constants(folder: Path, rows: int, add: float) -> tuple[Constants, float]:
    """Measure all constants, and the seconds until a scheduler and two workers are there."""
    decode, stored = decoding(store(folder, rows))
    few, many = of_blocks(FEW, TINY), of_blocks(MANY, TINY)
    asked = time.perf_counter()
    with serving(folder, 2, 1) as (client, _):
        start = time.perf_counter() - asked
        slept(few, client, Held())  # what is loaded at first use
        first, all_of_them = (least(lambda p=p: slept(p, client, Held())[1]) for p in (few, many))
        submit = (all_of_them - first) / (many.tasks - few.tasks)
        event, task = map(min, zip(*(event_and_task(client, many) for _ in range(TRIES)), strict=True))
        along, nothing = map(min, zip(*(link(client) for _ in range(TRIES)), strict=True))
        hop = max(0.0, along - event - nothing) / 2
        begin = max(0.0, first - submit * few.tasks)
        held = Held(weight=np.random.default_rng(0).bytes(INLINED))
        carried = (least(lambda: slept(many, client, held)[1]) - all_of_them) / (MANY * INLINED)
        speed = transfer(client)
    found = (begin, submit, max(0.0, carried), event, hop, task, add, speed, decode, stored)
    return Constants(*map(float, found)), start


if __name__ == "__main__":  # a process of workers
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(sys.argv[3]) % len(allowed)]})
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
