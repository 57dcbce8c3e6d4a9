from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from dask.tokenize import tokenize
from distributed import Client

from dask_em._record import digest
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.execution.tasks import Graph
from dask_em.reduction import Serial
from dask_em.storage import open_source
from dask_em.storage.source import Source
from tests.execution.cases import Memory, Seeded, layout_of, sums, sums_with, transitions, values_of, workers

LARGE = np.arange(40_000.0)  # 320 kB


@pytest.mark.parametrize("blocks", [2, 4, 5, 24])
@pytest.mark.parametrize("parameters", [np.zeros(3), LARGE])
def test_both_workers_work(blocks: int, parameters: Any, client: Client) -> None:
    with DaskReducer(layout_of(Seeded(24), blocks, slab_rows=10_000), client) as reducer:
        share = reducer.total(partial(workers, parameters)).of
    assert len(share) == 2
    assert blocks > 4 or max(share.values()) <= blocks // 2 + 1


@pytest.mark.parametrize(
    "source", [Seeded(24, padding=20_000), Memory(values_of(0, 60_000), 6_000)], ids=["large source", "rows in memory"]
)
@pytest.mark.parametrize("blocks", [4, 10])
def test_both_workers_work_where_rows_or_source_travel_once(source: Source, blocks: int, client: Client) -> None:
    with DaskReducer(layout_of(source, blocks, slab_rows=100_000), client) as reducer:
        for parameters in (np.zeros(3), LARGE):
            share = reducer.total(partial(workers, parameters)).of
            assert len(share) == 2
            assert blocks > 4 or max(share.values()) <= blocks // 2 + 1


def test_large_parameters_arrive_whole(client: Client) -> None:
    for blocks in (4, 11):
        layout = layout_of(Seeded(11), blocks)
        with DaskReducer(layout, client) as reducer:
            kernel = partial(sums_with, LARGE)
            assert digest(reducer.total(kernel)) == digest(Serial(layout).total(kernel))


def test_large_parameters_travel_once_where_there_are_many_blocks(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, keep=0.0) as reducer:
        reducer.total(partial(sums_with, LARGE))
        seen = client.run_on_scheduler(transitions, run=reducer._run)
    assert seen == {"est": 11, "par": 1, "mrg": 3}


class _Unspeakable:
    def __dask_tokenize__(self) -> Any:
        raise AssertionError("nobody needs to look at what tasks carry")


def test_no_pass_hashes_what_its_tasks_carry() -> None:
    one, other = Graph("one"), Graph("other")
    one["key"] = other["key"] = (print, _Unspeakable())
    assert tokenize(one) == tokenize(one) != tokenize(other)
    assert type(pickle.loads(pickle.dumps(Graph("one")))) is dict, "the scheduler knows dicts"


def test_rows_in_memory_travel_with_no_weights_but_theirs() -> None:
    values, weights = values_of(0, 60_000), np.linspace(0.0, 1.0, 60_000)
    blocks = layout_of(open_source(values, weights=weights), 10).blocks
    assert sum(len(pickle.dumps(block)) for block in blocks) < 1.1 * (values.nbytes + weights.nbytes)


def test_rows_in_memory_travel_once(client: Client) -> None:
    layout = layout_of(Memory(values_of(0, 60_000), 6_000), 10, slab_rows=4_000)
    with DaskReducer(layout, client) as reducer:
        for _ in range(3):
            reducer.total(sums)
        seen = client.run_on_scheduler(transitions, run=reducer._run)
    assert seen == {"load": 10, "est": 30, "mrg": 9}


def graph_bytes(dask_scheduler: Any) -> None:
    """Begin to count the bytes of the graphs that arrive at the scheduler."""
    update = dask_scheduler.stream_handlers["update-graph"]
    dask_scheduler.counted_bytes = 0

    async def counting(*args: Any, expr_ser: Any, **kwargs: Any) -> Any:
        dask_scheduler.counted_bytes += sum(memoryview(frame).nbytes for frame in expr_ser.frames)
        return await update(*args, expr_ser=expr_ser, **kwargs)

    dask_scheduler.stream_handlers["update-graph"] = counting
    dask_scheduler.uncounted = update


def counted_bytes(dask_scheduler: Any) -> int:
    count: int = dask_scheduler.counted_bytes
    dask_scheduler.counted_bytes = 0
    return count


def stop_counting(dask_scheduler: Any) -> None:
    dask_scheduler.stream_handlers["update-graph"] = dask_scheduler.uncounted


def test_a_later_pass_sends_no_rows(client: Client) -> None:
    values = values_of(0, 60_000)
    client.run_on_scheduler(graph_bytes)
    try:
        with DaskReducer(layout_of(Memory(values, 6_000), 10, slab_rows=4_000), client) as reducer:
            reducer.total(sums)
            assert values.nbytes < client.run_on_scheduler(counted_bytes) < 1.2 * values.nbytes
            reducer.total(sums)
            assert client.run_on_scheduler(counted_bytes) < 30_000
    finally:
        client.run_on_scheduler(stop_counting)
