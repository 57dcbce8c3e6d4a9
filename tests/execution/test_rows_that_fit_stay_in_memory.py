from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.execution import DaskReducer, Threads, open_reducer, resident
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.collections import collection_source
from dask_em.reduction import Serial, staying
from dask_em.storage import Weighted, open_source
from dask_em.storage.blocks import Layout
from tests.execution.cases import Memory, Seeded, kills_once, layout_of, sums, values_of
from tests.reading import Logged, loads, workers_here

ATOMS, BLOCKS, ROW = 22, 11, 3 * 8 + 8  # two atoms a block; bytes of a row and its weight
ALL, HALF = float("inf"), 11 * 70 * ROW
EXPECTED = digest(Serial(layout_of(Seeded(ATOMS))).total(sums))


def tasks_of(dask_scheduler: Any, run: str) -> list[str]:
    return [state.prefix.name for key, state in dask_scheduler.tasks.items() if run in str(key)]


def held_by_workers(dask_scheduler: Any, run: str) -> list[str]:
    return [state.prefix.name for key, state in dask_scheduler.tasks.items() if run in str(key) and state.who_has]


def on_cluster(client: Client, reducer: DaskReducer, wanted: int = 0, which: Any = tasks_of) -> list[str]:
    """Return the kinds of a reducer's tasks on the scheduler, which learns of a release a moment later."""
    for _ in range(200):
        found: list[str] = client.run_on_scheduler(which, run=reducer._run)
        if len(found) == wanted:
            break
        time.sleep(0.02)
    return found


@pytest.fixture(params=["serial", "threads", "dask"])
def reducer_of(request: Any, client: Client) -> Callable[[Layout, float], Any]:
    """Return a context of one kind of reducer, for a layout and the bytes that may stay."""
    kinds: dict[str, Callable[[Layout, float], Any]] = {
        "serial": lambda layout, keep: nullcontext(Serial(layout, keep)),
        "threads": lambda layout, keep: nullcontext(Threads(layout, 2, keep)),
        "dask": lambda layout, keep: DaskReducer(layout, client, keep=keep),
    }
    return kinds[request.param]


@pytest.mark.parametrize(("keep", "once"), [(ALL, 22), (HALF, 10), (0.0, 0), (HALF / 6, 0)])
def test_blocks_that_stay_are_read_once_and_the_others_in_each_pass(
    keep: float, once: int, reducer_of: Any, tmp_path: Path
) -> None:
    layout = layout_of(Logged(Seeded(ATOMS), tmp_path / "log"))
    with reducer_of(layout, keep) as reducer:
        assert {digest(reducer.total(sums)) for _ in range(3)} == {EXPECTED}
    assert sorted(loads(tmp_path / "log").values()) == [1] * once + [3] * (22 - once)


@pytest.mark.parametrize("blocks", [8, 11, 64, 1000])
def test_what_stays_is_spread_evenly_and_is_less_of_the_same_where_less_fits(blocks: int) -> None:
    layout = layout_of(Seeded(blocks), blocks)
    before: frozenset[int] = frozenset(range(blocks))
    for share in (0.9, 0.5, 0.3, 0.1):
        chosen = staying(layout, (share + 1e-6) * blocks * 70 * ROW)
        assert chosen <= before
        assert len(chosen) == int(share * blocks + 1e-3)
        for start in range(0, blocks, 8):
            expected = share * len(range(start, min(start + 8, blocks)))
            assert abs(len(chosen & set(range(start, start + 8))) - expected) < 2
        before = chosen


def test_the_cluster_holds_what_stays_until_the_reducer_is_closed(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(ATOMS)), client, keep=HALF) as reducer:
        reducer.total(sums)
        assert on_cluster(client, reducer, 5) == ["read"] * 5
        reducer.total(sums)
        assert on_cluster(client, reducer, 5) == ["read"] * 5
    assert on_cluster(client, reducer) == []


def test_what_was_sent_to_read_rows_is_not_held_beside_them(client: Client) -> None:
    rows = Seeded(8, 20_000)
    layout = layout_of(Weighted(rows, np.linspace(0.0, 1.0, 8 * 20_000)), 8, slab_rows=9_000)
    with DaskReducer(layout, client, keep=ALL) as reducer:
        expected = digest(Serial(layout).total(sums))
        assert {digest(reducer.total(sums)) for _ in range(2)} == {expected}
        assert on_cluster(client, reducer, 8, held_by_workers) == ["read"] * 8
    assert on_cluster(client, reducer) == []


def test_rows_in_memory_are_not_held_twice(default_client: Client, tmp_path: Path) -> None:
    values = values_of(0, 60_000)
    persisted = da.from_array(values, chunks=(6_000, -1)).persist()
    with DaskReducer(layout_of(collection_source(persisted), 10), default_client, keep=ALL) as reducer:
        reducer.total(sums)
        assert on_cluster(default_client, reducer) == []
    for source in (open_source(values), open_source(values, rows_per_atom=6_000), Memory(values, 6_000)):
        layout = layout_of(source, 10)
        assert staying(layout, ALL) == frozenset()
        with DaskReducer(layout, default_client, keep=ALL) as reducer:
            reducer.total(sums)
            assert on_cluster(default_client, reducer, 10) == ["load"] * 10


def transitions(dask_scheduler: Any) -> int:
    log = dask_scheduler.transition_log
    return sum(str(key).startswith("('read-") and state == "memory" for key, _, state, *_ in log)


def test_what_is_read_once_does_not_stay(default_client: Client, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=values_of(0, 4_000), chunks=(500, 3))
    model = GaussianMixture(2, max_iter=2, tol=0.0, init_params="random_from_data", random_state=0)
    for _ in model.iterate(tmp_path / "x.zarr"):
        pass
    before = default_client.run_on_scheduler(transitions)
    assert before > 0
    model.score(tmp_path / "x.zarr")
    model.predict_to(tmp_path / "x.zarr", str(tmp_path / "labels.zarr"))
    assert default_client.run_on_scheduler(transitions) == before
    for where in (default_client, None):
        layout = layout_of(Logged(Seeded(ATOMS), tmp_path / f"log-{where is None}"))
        with dask.config.set({"dask_em.resident": "1 GiB"}), open_reducer(layout, where, once=True) as reducer:
            reducer.total(sums)
            reducer.total(sums)
        assert set(loads(tmp_path / f"log-{where is None}").values()) == {2}


@pytest.mark.parametrize("where", ["here", "cluster"])
@pytest.mark.parametrize(("said", "reads"), [(0, 3), ("1 GiB", 1), ("auto", 1)])
def test_the_user_says_how_much_stays(said: Any, reads: int, where: str, client: Client, tmp_path: Path) -> None:
    layout = layout_of(Logged(Seeded(ATOMS), tmp_path / "log"))
    with (
        dask.config.set({"dask_em.resident": said}),
        open_reducer(layout, client if where == "cluster" else None) as reducer,
    ):
        for _ in range(3):
            reducer.total(sums)
    assert set(loads(tmp_path / "log").values()) == {reads}


def test_blocks_are_given_back_where_the_memory_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(Logged(Seeded(ATOMS), tmp_path / "log"))
    monkeypatch.setattr(resident, "LOOK_AGAIN", -1.0)
    monkeypatch.setattr(resident, "LEAST_MEMORY", 0)
    with workers_here() as client, DaskReducer(layout, client) as reducer:
        limits = sum(worker["memory_limit"] for worker in client.scheduler_info()["workers"].values())
        monkeypatch.setattr(resident, "OF_MEMORY", 1.1 * layout.rows * ROW / limits)  # a bit more than all of it
        digests = [digest(reducer.total(sums)) for _ in range(2)]
        assert on_cluster(client, reducer, 11) == ["read"] * 11
        client.retire_workers(list(client.nthreads())[:1])
        digests.append(digest(reducer.total(sums)))
        assert on_cluster(client, reducer, 6) == ["read"] * 6
        digests.append(digest(reducer.total(sums)))
    assert set(digests) == {EXPECTED}
    counts = sorted(loads(tmp_path / "log").values())
    assert counts == [1] * 12 + [3] * 10


@pytest.fixture
def frail() -> Iterator[Client]:
    """A cluster of its own, whose workers are killed."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # it reports each death at length
    with connect(ClusterSettings("local", workers=2, memory_limit="1GiB")) as client:
        assert client is not None
        yield client
    logger.setLevel(before)


@pytest.mark.chaos
@pytest.mark.clusters
@pytest.mark.parametrize(("atoms", "blocks", "tasks", "shared"), [(ATOMS, BLOCKS, BLOCKS, 0), (64, 64, 6, 16)])
def test_what_a_dead_worker_held_is_read_again(
    atoms: int, blocks: int, tasks: int, shared: int, tmp_path: Path, frail: Client
) -> None:
    layout = layout_of(Logged(Seeded(atoms), tmp_path / "log"), blocks)
    expected = digest(Serial(layout_of(Seeded(atoms), blocks)).total(sums))
    with DaskReducer(layout, frail, keep=ALL) as reducer:
        assert digest(reducer.total(sums)) == expected
        address, process = next(iter(frail.run(os.getpid).items()))
        held = {key: list(where) for key, where in frail.who_has().items() if "read-" in str(key)}
        starts = sorted(key[1] for key in held)
        size = dict(zip(starts, np.diff([*starts, blocks - shared]), strict=True))
        lost = sum(size[key[1]] for key, where in held.items() if where == [address])
        assert 0 < lost < blocks
        os.kill(process, signal.SIGKILL)
        assert digest(reducer.total(sums)) == expected
        each, alone = atoms // blocks, atoms // blocks * (blocks - shared)
        read = loads(tmp_path / "log")
        counts = sorted(read[f"part {atom}"] for atom in range(alone))
        assert counts == [1] * (alone - each * lost) + [2] * (each * lost)
        assert {read[f"part {atom}"] for atom in range(alone, atoms)} <= {2, 3}  # copies: by each worker that lived
        assert digest(reducer.total(partial(kills_once, tmp_path / "killed"))) == expected
        assert (tmp_path / "killed").exists()
        assert digest(reducer.total(sums)) == expected
        assert on_cluster(frail, reducer, tasks) == ["read"] * tasks
    assert on_cluster(frail, reducer) == []
