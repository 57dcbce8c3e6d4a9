from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

from dask_em._record import digest
from dask_em.execution.batches import BATCH_BYTES, batches, single
from dask_em.execution.collections import collection_source
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.storage.blocks import Layout
from tests.execution.cases import Folder, Memory, Seeded, doubled, layout_of, sums, transitions, values_of
from tests.reading import Logged, loads

BLOCKS = 64


def lengths(layout: Layout, threads: int) -> list[int]:
    return [len(batch) for batch in batches(layout, threads)]


@given(blocks=st.integers(1, 200), threads=st.integers(0, 40))
def test_batches_are_all_blocks_in_order_and_leave_each_thread_some_of_its_own(blocks: int, threads: int) -> None:
    found = batches(layout_of(Seeded(blocks), blocks), threads)
    assert [index for batch in found for index in batch] == list(range(blocks))
    whole = [batch for batch in found if len(batch) > 1]
    assert all((batch.start % 8, len(batch)) == (0, 8) for batch in whole)
    assert len(whole) % max(1, threads) == 0
    assert not whole or len(found) - len(whole) >= 4 * threads


@pytest.mark.parametrize(("threads", "expected"), [(1, 7), (2, 6), (3, 6), (4, 4), (5, 5), (8, 0), (64, 0)])
def test_the_more_threads_the_fewer_nodes(threads: int, expected: int) -> None:
    whole, alone = 8 * expected, BLOCKS - 8 * expected
    assert lengths(layout_of(Seeded(BLOCKS), BLOCKS), threads) == [8] * (whole // 8) + [1] * alone


def test_blocks_that_are_large_or_lie_somewhere_have_tasks_of_their_own(default_client: Client) -> None:
    few = layout_of(Seeded(BLOCKS), BLOCKS)
    atoms = [replace(atom, nbytes=BATCH_BYTES // 8) for atom in Seeded(BLOCKS).atoms()]
    assert lengths(layout_of(Seeded(BLOCKS), BLOCKS, atoms=atoms), 2) == lengths(few, 2)
    atoms = [replace(atom, nbytes=BATCH_BYTES // 8 + 1) for atom in atoms]
    assert batches(layout_of(Seeded(BLOCKS), BLOCKS, atoms=atoms), 2) == single(range(BLOCKS))
    values = values_of(0, 70 * BLOCKS)
    assert batches(layout_of(Memory(values), BLOCKS), 2) == single(range(BLOCKS))
    persisted = collection_source(da.from_array(values, chunks=(70, -1)).persist())
    assert batches(layout_of(persisted, BLOCKS), 2) == single(range(BLOCKS))


@pytest.mark.parametrize(("keep", "reads"), [(0.0, 0), (32 * 70 * 32.0, 13), (float("inf"), 6)])
def test_a_pass_has_a_third_of_the_tasks_and_the_same_bits(
    keep: float, reads: int, client: Client, tmp_path: Any
) -> None:
    layout = layout_of(Logged(Seeded(BLOCKS), tmp_path / "log"), BLOCKS)
    expected = digest(Serial(layout_of(Seeded(BLOCKS), BLOCKS)).total(sums))
    with DaskReducer(layout, client, keep=keep) as reducer:
        assert {digest(reducer.total(sums)) for _ in range(3)} == {expected}
        assert reducer.write(doubled, Folder(tmp_path / "written")).rows == 70 * BLOCKS
        tasks = client.run_on_scheduler(transitions, run=reducer._run)
    assert tasks.pop("read", 0) == reads  # of some blocks of each node, and of seven of the sixteen single ones
    assert tasks == {"est": 3 * 22, "put": 22, "mrg": 4 * 3}
    once, by_each = ([*loads(tmp_path / "log").values()].count(times) for times in (1, 2))
    assert (once, by_each) == {0.0: (0, 0), float("inf"): (48, 16)}.get(keep, (32, 0))
    parts = [np.load(tmp_path / "written" / f"{index:05}.npy") for index in range(BLOCKS)]
    written = np.concatenate([values_of(index, 70)[:, 0] for index in range(BLOCKS)])
    assert (np.concatenate(parts) == 2.0 * written).all()
