"""Laws of benchmarks/simulation.py, over plans of dask_em's own."""

from __future__ import annotations

import dataclasses
import importlib
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_em.plan import BLOCK_BYTES, ModelSize, Plan, plan
from dask_em.storage.source import Atom
from tests.sources import Chunks

with pytest.MonkeyPatch.context() as patch:  # a benchmark is a script beside its helpers, no package
    patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    simulation = importlib.import_module("simulation")

Constants, Model, Site, Work = simulation.Constants, simulation.Model, simulation.Site, simulation.Work
FREE = Constants()
COSTLY = Constants(begin=0.01, submit=4e-4, carried=1e-8, event=6e-4, hop=2e-3, task=2e-3, add=1e-9, transfer=1e9)
BLOCKS = 64


def planned(blocks: int) -> Plan:
    atoms = [Atom(1000, BLOCK_BYTES, f"chunk {i}") for i in range(blocks)]
    return plan(Chunks(np.zeros((1, 4)), (1,)), atoms, ModelSize(components=4, products=21))


PLANNED = planned(BLOCKS)
WORK = Work(tuple(1.0 + i % 7 for i in range(BLOCKS)), (0.0,) * BLOCKS, 1000)


def seconds(workers: int, constants=FREE, work=WORK, **site) -> float:
    return simulation.simulate(PLANNED, work, constants, Site(workers, **site)).seconds


@given(st.lists(st.integers(1, 1000), min_size=BLOCKS, max_size=BLOCKS))
def test_one_worker_without_costs_takes_the_sum_of_its_blocks(times: list[int]) -> None:
    assert seconds(1, work=Work(tuple(map(float, times)), (0.0,) * BLOCKS, 1000)) == sum(times)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 1000), min_size=BLOCKS, max_size=BLOCKS), st.integers(1, 80))
def test_more_workers_without_costs_never_take_longer(times: list[int], workers: int) -> None:
    work = Work(tuple(map(float, times)), (0.0,) * BLOCKS, 1000)
    fewer, more = (seconds(n, work=work) for n in (workers, workers + 1))
    assert max(*times, sum(times) / (workers + 1)) <= more <= fewer


def test_as_many_workers_as_blocks_take_the_longest_block() -> None:
    assert seconds(BLOCKS) == seconds(100 * BLOCKS) == 7.0


@pytest.mark.parametrize("workers", [1, 3, 64, 1000])
@pytest.mark.parametrize("constants", [FREE, COSTLY])
def test_every_task_of_the_plan_runs_once(constants, workers) -> None:
    done = simulation.simulate(PLANNED, WORK, constants, Site(workers), Model(4, 200, parameters=10**6))
    assert done.tasks == PLANNED.tasks == BLOCKS + 8 + 1  # and the tree of arity 8
    assert done.scheduling >= PLANNED.tasks * constants.event


def test_a_scheduler_is_a_floor_that_no_worker_lowers() -> None:
    nothing = Work((0.0,) * BLOCKS, (0.0,) * BLOCKS, 8)
    slow = Constants(event=1.0)
    assert all(seconds(workers, slow, nothing) >= PLANNED.tasks for workers in (1, 8, 64, 1000))


@pytest.mark.parametrize("name", ["begin", "submit", "carried", "event", "hop", "task", "add", "transfer"])
@pytest.mark.parametrize("workers", [8, BLOCKS])
def test_each_cost_makes_a_pass_longer(name, workers) -> None:
    constants = dataclasses.replace(FREE, **{name: 1e3 if name == "transfer" else 1e-2})
    done = simulation.simulate(PLANNED, WORK, constants, Site(workers), Model(4, 200, parameters=10**6))
    alone = name == "carried" and workers == 8  # large parameters travel by themselves where there are many blocks
    assert (done.seconds > seconds(workers)) == (not alone)


def test_those_who_read_share_the_store() -> None:
    read = Work((0.0,) * BLOCKS, (100.0,) * BLOCKS, 8)
    every = 100.0 * BLOCKS
    assert seconds(1, work=read, store_each=10.0, store_total=50.0) == pytest.approx(every / 10)
    assert seconds(4, work=read, store_each=10.0, store_total=50.0) == pytest.approx(every / 40)
    assert seconds(64, work=read, store_each=10.0, store_total=50.0) == pytest.approx(every / 50)
    assert seconds(1, work=Work((20.0,) * BLOCKS, read.reading, 8), store_each=10.0) == pytest.approx(20.0 * BLOCKS)


def test_rows_that_stay_are_neither_read_nor_decoded() -> None:
    model, constants = Model(4, 200, flops=1e9), Constants(decode=1e6)
    work = [simulation.work_of(PLANNED, model, constants, Site(1, keep=keep)) for keep in (0.0, inf)]
    assert sum(work[0].reading) == PLANNED.bytes_per_pass
    assert sum(work[1].reading) == 0
    assert sum(work[1].computing) == pytest.approx(PLANNED.size.flops(PLANNED.layout.rows) / 1e9)
    assert sum(work[0].computing) - sum(work[1].computing) == pytest.approx(PLANNED.bytes_per_pass / 1e6)


def test_one_slow_worker_in_a_hundred_holds_the_pass_up() -> None:
    even = Work((1.0,) * BLOCKS, (0.0,) * BLOCKS, 8)
    assert seconds(99, work=even, slow=3.0) == 1.0
    many = Work((1.0,) * 128, (0.0,) * 128, 8)
    assert simulation.simulate(planned(128), many, FREE, Site(128, slow=3.0)).seconds == 3.0
