from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from distributed import Client

from dask_em._record import digest
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.statistics import Joint
from tests.execution.cases import Memory, Seeded, layout_of, sums, values_of
from tests.execution.networks import Network, network, why_not

pytestmark = [pytest.mark.chaos, pytest.mark.clusters]

SHORT = {  # what docs/recovery.md names, as short as it may be
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
}
SOURCES = {"at rest": Seeded(24), "in memory": Memory(values_of(0, 20_000), 2_000)}


def slowly(rows: Rows) -> Joint:
    time.sleep(0.15)
    return sums(rows)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Client]]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    with network(tmp_path_factory.mktemp("network"), SHORT) as made:
        with DaskReducer(layout_of(SOURCES["at rest"], 24, slab_rows=1_000), made[1]) as reducer:
            reducer.total(slowly)  # a worker's first task waits for imports, longer than a test is patient
        yield made
    logger.setLevel(before)


@contextmanager
def meanwhile(*steps: Callable[[], None], pause: float) -> Iterator[None]:
    """Do the steps one after another in a thread, with a pause before each; all were done before the block ended."""
    done: list[Any] = []

    def run() -> None:
        for step in steps:
            time.sleep(pause)
            step()
            done.append(step)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
        assert len(done) == len(steps), "the pass ended before the network was cut"
    finally:
        thread.join()


def test_a_link_that_is_cut_and_healed(cluster: tuple[Network, Client]) -> None:
    net, client = cluster
    layout = layout_of(SOURCES["at rest"], 24, slab_rows=1_000)
    with DaskReducer(layout, client) as reducer, meanwhile(lambda: net.cut(0), net.heal, pause=0.7):
        got = reducer.total(slowly)
        assert reducer.news() == ()
    assert digest(got) == digest(Serial(layout).total(sums))


CASES = [
    pytest.param("at rest", False, id="at rest, silent"),
    pytest.param("in memory", False, id="in memory, silent", marks=pytest.mark.slow),
    pytest.param("at rest", True, id="at rest, refused", marks=pytest.mark.slow),
    pytest.param("in memory", True, id="in memory, refused", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("source", "refuse"), CASES)
def test_a_link_between_workers_that_is_cut(source: str, refuse: bool, cluster: tuple[Network, Client]) -> None:
    net, client = cluster
    layout = layout_of(SOURCES[source], 24, slab_rows=1_000)
    try:
        with (
            DaskReducer(layout, client, patience=2.0) as reducer,
            meanwhile(lambda: net.cut_between_workers(refuse), pause=0.3),
        ):
            got = reducer.total(slowly)
            (news,) = reducer.news()
            assert "nothing moved for 2 seconds" in news
    finally:
        net.heal()
    assert digest(got) == digest(Serial(layout).total(sums))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_whose_link_stays_cut(cluster: tuple[Network, Client]) -> None:
    net, client = cluster
    layout = layout_of(SOURCES["at rest"], 24, slab_rows=1_000)
    try:
        with DaskReducer(layout, client) as reducer, meanwhile(lambda: net.cut(1), pause=0.3):
            got = reducer.total(slowly)
        assert [worker["host"] for worker in client.scheduler_info()["workers"].values()] == net.hosts[:1]
    finally:
        net.heal()
    assert digest(got) == digest(Serial(layout).total(sums))
