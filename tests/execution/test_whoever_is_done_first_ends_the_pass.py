from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import pytest
from distributed import Client, SchedulerPlugin
from hypothesis import given
from hypothesis import strategies as st

from dask_em._record import digest
from dask_em.execution import DaskReducer, resident
from dask_em.execution.batches import batches, common
from dask_em.execution.collections import collection_source
from dask_em.execution.copies import copies
from dask_em.reduction import Serial, staying
from dask_em.rows import Rows
from dask_em.storage.blocks import Block, Layout, Piece
from tests.execution.cases import Folder, Memory, Seeded, Workers, doubled, layout_of, sums, values_of
from tests.reading import Logged, loads, workers_here

BLOCKS, SLABS, ALL = 64, 3, float("inf")  # slabs in each block
SHARED = frozenset(range(BLOCKS - 16, BLOCKS))  # by two workers of a thread each
EXPECTED = digest(Serial(layout_of(Seeded(BLOCKS), BLOCKS)).total(sums))


def shared(layout: Layout, nbytes: float, threads: list[int]) -> frozenset[int]:
    return common(layout, batches(layout, sum(threads)), staying(layout, nbytes), nbytes, threads)


@given(blocks=st.integers(1, 200), threads=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_each_thread_shares_four_to_eight_blocks_and_half_of_all_at_most_are_read_again(
    blocks: int, threads: list[int]
) -> None:
    layout = layout_of(Seeded(blocks), blocks)
    cut, found = batches(layout, sum(threads)), shared(layout, ALL, threads)
    assert found == frozenset(range(blocks - len(found), blocks))
    assert all(len(batch) == 1 for batch in cut if batch.start in found)
    assert (len(threads) - 1) * len(found) <= blocks / 2
    assert len(found) <= 8 * sum(threads)
    assert not 0 < len(found) < 4 * sum(threads)
    assert bool(found) == (len(threads) > 1 and blocks // 2 // (len(threads) - 1) >= 4 * sum(threads))


def test_copies_are_kept_where_all_rows_and_they_fit() -> None:
    layout = layout_of(Seeded(BLOCKS), BLOCKS)
    fits = (BLOCKS + len(SHARED)) * 70 * layout.row_nbytes
    assert shared(layout, fits, [1, 1]) == SHARED
    assert shared(layout, fits - 1, [1, 1]) == frozenset()
    assert shared(layout, ALL, [2]) == frozenset()
    assert shared(layout_of(Memory(values_of(0, 70 * BLOCKS)), BLOCKS), ALL, [1, 1]) == frozenset()
    lazy = collection_source(da.from_array(values_of(0, 70 * BLOCKS), chunks=(70, -1)))
    assert shared(layout_of(lazy, BLOCKS), ALL, [1, 1]) == SHARED


def here(run: str) -> list[int]:
    """Return the blocks of which this process has a copy."""
    found = copies(run, None)
    return sorted(found._blocks) if found is not None else []


def on_workers(client: Client, reducer: DaskReducer, wanted: list[int]) -> list[list[int]]:
    """Return what each worker has a copy of; a release reaches it a moment later."""
    for _ in range(200):
        found = list(client.run(here, reducer._run).values())
        if all(each == wanted for each in found):
            break
        time.sleep(0.02)
    return found


def test_every_worker_reads_a_copy_once_and_has_it_until_the_reducer_is_closed(client: Client, tmp_path: Path) -> None:
    layout = layout_of(Logged(Seeded(BLOCKS), tmp_path / "log"), BLOCKS)
    with DaskReducer(layout, client, keep=ALL) as reducer:
        assert {digest(reducer.total(sums)) for _ in range(3)} == {EXPECTED}
        assert on_workers(client, reducer, sorted(SHARED)) == [sorted(SHARED)] * 2
        reducer.write(doubled, Folder(tmp_path / "written"))
        read = loads(tmp_path / "log")
        assert [read[f"part {index}"] for index in range(BLOCKS)] == [1] * (BLOCKS - 16) + [2] * 16
    assert on_workers(client, reducer, []) == [[], []]


def lags(slow: int, rows: Rows) -> Workers:
    """Take long on one worker; tell who took what is shared."""
    time.sleep(0.02 if os.getpid() == slow else 0.001)
    return Workers({os.getpid(): 1} if rows.index[0] >= min(SHARED) * 70 else {})


def test_a_slow_worker_computes_its_own_rows_and_hardly_any_others(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(BLOCKS), BLOCKS), client, keep=ALL) as reducer:
        reducer.total(sums)
        one, other = client.run(os.getpid).values()
        for slow, quick in ((one, other), (other, one)):
            of = reducer.total(partial(lags, slow)).of
            assert of.get(slow, 0) <= 2 * SLABS
            assert of.get(slow, 0) + of[quick] == SLABS * len(SHARED)


def test_copies_are_given_back_where_the_memory_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(Logged(Seeded(BLOCKS), tmp_path / "log"), BLOCKS)
    monkeypatch.setattr(resident, "LOOK_AGAIN", -1.0)
    monkeypatch.setattr(resident, "LEAST_MEMORY", 0)
    with workers_here() as client, DaskReducer(layout, client) as reducer:
        limits = sum(worker["memory_limit"] for worker in client.scheduler_info()["workers"].values())
        for room, copied, times in ((2.0, sorted(SHARED), 1), (1.0, [], 2), (1.0, [], 2), (2.0, sorted(SHARED), 3)):
            monkeypatch.setattr(resident, "OF_MEMORY", (room + 1e-6) * layout.rows * layout.row_nbytes / limits)
            assert digest(reducer.total(sums)) == EXPECTED
            assert here(reducer._run) == copied
            read = loads(tmp_path / "log")
            assert {read[f"part {index}"] for index in range(BLOCKS - len(SHARED))} == {1}
            assert {read[f"part {index}"] for index in SHARED} == {times}
    assert here(reducer._run) == []


class GivenOut(SchedulerPlugin):
    """The shared blocks, in the order in which the scheduler gives them to workers."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        if finish == "processing" and key[0].endswith("-common"):
            self.blocks.append(key[1])


def test_of_the_shared_blocks_the_largest_come_first() -> None:
    """So that whoever has nothing left to do waits least."""
    sizes = [(70, 30, 50, 10)[index % 4] for index in range(BLOCKS)]
    source = collection_source(da.from_array(values_of(0, sum(sizes)), chunks=(tuple(sizes), -1)))
    blocks = tuple(
        Block(index, sum(sizes[:index]), (Piece(atom, 0, sizes[index]),)) for index, atom in enumerate(source.atoms())
    )
    given = GivenOut()
    with workers_here() as client, DaskReducer(Layout(source, blocks, 128), client, keep=ALL) as reducer:
        reducer.total(sums)
        client.cluster.scheduler.add_plugin(given)
        reducer.total(sums)
    order = [sizes[index] for index in given.blocks][4:]  # two to each worker before the scheduler has seen all
    assert order == sorted(order, reverse=True)
    assert sorted(given.blocks) == sorted(SHARED)
