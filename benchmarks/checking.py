"""Passes that scale.py measures on this machine, and the same simulated with the constants measured beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from distributed import Client
from measuring import TINY, Held, least, of_blocks, prepared, serving, slept, store, timed
from simulation import Constants, Model, Site, Work, simulate, work_of

from dask_em import open_source
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.plan import ModelSize, Plan, plan

__all__ = ["Check", "checks"]

SLEPT, COMPUTED = 4, 10  # passes, of which the least counts
CLUSTERS = ((2, 1), (4, 4), (16, 4))  # processes, workers in each
SUMS, PARAMETERS = 3_432_000, 6_660_518  # bytes: of 200 components in 64 columns, full covariances
COLUMNS = COMPONENTS = 16


@dataclass(frozen=True)
class Check:
    """A pass, measured and simulated."""

    what: str
    workers: int
    blocks: int
    measured: float  # seconds
    simulated: float  # seconds
    cpu: float  # seconds, simulated, of all tasks and the scheduler over this machine's cores

    @property
    def ratio(self) -> float:
        """Simulated to measured."""
        return self.simulated / self.measured


@dataclass(frozen=True)
class Sleeping:
    """Blocks that sleep: what they ask of the scheduler and of links is that of blocks that compute."""

    blocks: int
    seconds: float
    sums: int = 8  # bytes of each block's value
    parameters: int = 0  # bytes

    def __str__(self) -> str:
        what = f"sleep {self.seconds * 1000:g} ms" if self.seconds else "do nothing"
        more = [f"sums {self.sums / 1e6:.1f} MB"] * (self.sums > 8)
        more += [f"parameters {self.parameters / 1e6:.1f} MB"] * (self.parameters > 0)
        return ", ".join([what, *more])


SLEEPS = {
    2: [
        Sleeping(10, 0.0),
        Sleeping(100, 0.0),
        Sleeping(1000, 0.0),
        Sleeping(100, 0.05, sums=SUMS),
        Sleeping(100, 0.05, parameters=PARAMETERS),
    ],
    16: [
        Sleeping(400, 0.2),
        Sleeping(200, 0.2, sums=SUMS),
        Sleeping(200, 0.2, parameters=PARAMETERS),
        Sleeping(24, 0.2, parameters=PARAMETERS),
    ],
    64: [Sleeping(64, 1.0), Sleeping(512, 1.0), Sleeping(1000, 0.2), Sleeping(64, 1.0, parameters=PARAMETERS // 10)],
}


def shared(planned: Plan, work: Work, constants: Constants) -> float:
    """Return the seconds that all CPU work takes where this machine's cores share it."""
    tasks = planned.tasks * (constants.task + constants.event + constants.submit)
    return (sum(work.computing) + tasks) / len(os.sched_getaffinity(0))


def sleeping(client: Client, workers: int, asked: Sleeping, constants: Constants) -> Check:
    """Measure and simulate a pass of blocks that sleep."""
    planned = of_blocks(asked.blocks, TINY)
    kernel = Held(asked.seconds, size=asked.sums // 8, weight=np.random.default_rng(0).bytes(asked.parameters))
    slept(planned, client, kernel)
    measured = least(lambda: slept(planned, client, kernel)[0], SLEPT)
    work = Work((asked.seconds,) * asked.blocks, (0.0,) * asked.blocks, asked.sums)
    simulated = simulate(planned, work, constants, Site(workers), Model(0, 0, parameters=asked.parameters)).seconds
    idle = Work((), (), 0)
    return Check(str(asked), workers, len(planned.layout.blocks), measured, simulated, shared(planned, idle, constants))


def computing(client: Client, workers: int, path: Path, constants: Constants, model: Model) -> Check:
    """Measure and simulate passes over a store that is read anew each time, from this machine's cache of files."""
    source = open_source(path)
    atoms = source.atoms()
    planned = plan(source, atoms, ModelSize(COMPONENTS, (COLUMNS + 1) * (COLUMNS + 2) // 2))
    kernel = partial(prepared(source.load(atoms[0]).values, COMPONENTS), planned.layout.tile_rows)
    with DaskReducer(planned.layout, client, keep=0.0) as reducer:
        reducer.total(kernel)
        measured = least(lambda: timed(lambda: reducer.total(kernel)), COMPUTED)
    site = Site(workers)
    work = work_of(planned, model, constants, site)
    what = f"{planned.layout.rows:,} x {COLUMNS} from Zarr, K = {COMPONENTS}"
    simulated = simulate(planned, work, constants, site, model).seconds
    return Check(what, workers, len(planned.layout.blocks), measured, simulated, shared(planned, work, constants))


def checks(folder: Path, rows: list[int], constants: Constants, model: Model) -> list[Check]:
    """Return all checks, in order of workers."""
    found: list[Check] = []
    for workers in (1, 2):
        with serving(folder, workers, 1) as (client, _):
            found += [computing(client, workers, store(folder, n), constants, model) for n in rows]
    for processes, each in CLUSTERS:
        with serving(folder, processes, each) as (client, _):
            for asked in SLEEPS[processes * each]:
                found.append(sleeping(client, processes * each, asked, constants))
                print(found[-1], flush=True)
    return found
