from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from dask_em._record import digest
from dask_em.errors import DaskEMError, DataError, InputError
from dask_em.execution import Threads
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.rows import Rows
from tests.execution.cases import (
    Folder,
    Memory,
    Seeded,
    doubles_few,
    fails_late,
    hangs_once,
    kills_once,
    kills_twice,
    layout_of,
    sums,
    values_of,
    workers,
)
from tests.execution.test_a_pass_leaves_nothing_behind import left


@pytest.fixture(scope="module")
def frail() -> Iterator[Client]:
    """A cluster of its own, whose workers are killed."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # it reports each death at length
    with connect(ClusterSettings("local", workers=2, memory_limit="2GiB")) as client:
        yield client
    logger.setLevel(before)


def set_allowed_failures(dask_scheduler: Any, number: int) -> None:
    dask_scheduler.allowed_failures = number


def test_an_error_in_a_block_arrives_as_itself(client: Client) -> None:
    layout = layout_of(Seeded(11))
    with DaskReducer(layout, client) as reducer, pytest.raises(DataError, match="row 500 of the array is not finite"):
        reducer.total(fails_late)
    for threads in (1, 2):
        with pytest.raises(DataError, match="row 500 of the array is not finite"):
            Threads(layout, threads).total(fails_late)


def test_a_failed_write_is_not_committed_but_abandoned(tmp_path: Path, client: Client) -> None:
    layout = layout_of(Seeded(11))
    with DaskReducer(layout, client) as dask:
        for name, reducer in (("threads", Threads(layout, 2)), ("dask", dask)):
            with pytest.raises(DataError, match="row 500"):
                reducer.write(doubles_few, Folder(tmp_path / name))
            assert not (tmp_path / name / "done").exists()
            assert (tmp_path / f"{name}.abandoned").exists()


@pytest.mark.chaos
@pytest.mark.parametrize("source", [Seeded(11), Memory(values_of(0, 20_000), 6_000)], ids=["at rest", "in memory"])
def test_a_worker_killed_in_mid_pass_changes_no_bit(source: Any, tmp_path: Path, frail: Client) -> None:
    layout = layout_of(source)
    with DaskReducer(layout, frail) as reducer:
        reducer.total(sums)
        got = reducer.total(partial(kills_once, tmp_path / "killed"))
        assert (tmp_path / "killed").exists()
        assert digest(got) == digest(Serial(layout).total(sums))


@pytest.mark.chaos
@pytest.mark.parametrize("source", [Seeded(11), Memory(values_of(0, 20_000), 6_000)], ids=["at rest", "in memory"])
def test_a_pass_that_the_cluster_gives_up_is_tried_again(
    source: Any, tmp_path: Path, frail: Client, caplog: pytest.LogCaptureFixture
) -> None:
    layout = layout_of(source)
    frail.run_on_scheduler(set_allowed_failures, number=0)
    try:
        with DaskReducer(layout, frail) as reducer, caplog.at_level("WARNING", logger="dask_em"):
            got = reducer.total(partial(kills_twice, tmp_path))
    finally:
        frail.run_on_scheduler(set_allowed_failures, number=3)
    assert digest(got) == digest(Serial(layout).total(sums))
    assert [record.message.partition(" failed")[0] for record in caplog.records if record.name == "dask_em"] == [
        "pass 0, attempt 1 of 3",
        "pass 0, attempt 2 of 3",
    ]


def always_kills(rows: Rows) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.chaos
def test_a_pass_that_always_kills_its_workers_ends_in_a_sentence(frail: Client) -> None:
    frail.run_on_scheduler(set_allowed_failures, number=0)
    try:
        with (
            DaskReducer(layout_of(Seeded(2), 2), frail) as reducer,
            pytest.raises(DaskEMError, match=r"could not finish pass 0 over seeded.*attempt 3 of 3.*more memory"),
        ):
            reducer.total(always_kills)
    finally:
        frail.run_on_scheduler(set_allowed_failures, number=3)


def takes_long(rows: Rows) -> Any:
    time.sleep(0.1)
    return sums(rows)


def warmed(client: Client) -> None:
    """Let all workers have their first task behind them, which waits for imports longer than a test is patient."""
    client.wait_for_workers(2)
    with DaskReducer(layout_of(Seeded(24), 24, slab_rows=100), client) as reducer:
        while len(reducer.total(partial(workers, np.zeros(0))).of) < 2:
            pass  # one of them has done all


def test_a_pass_that_stands_still_is_tried_again(
    tmp_path: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    warmed(client)
    layout = layout_of(Seeded(11))
    with DaskReducer(layout, client, patience=1.0) as reducer, caplog.at_level("WARNING", logger="dask_em"):
        got = reducer.total(partial(hangs_once, tmp_path / "hung"))
        (news,) = reducer.news()
        assert news.startswith("attempt 1 of 3 failed and was made again: nothing moved for 1 seconds on tcp://")
        assert left(client, reducer._run) == []
    assert digest(got) == digest(Serial(layout).total(sums))
    (record,) = [record for record in caplog.records if record.name == "dask_em"]
    assert (record.event, record.attempt) == ("pass tried again", 1)  # type: ignore[attr-defined]  # given as extra


def hangs_always(rows: Rows) -> Any:
    time.sleep(4.0 if rows.index[0] == 0 else 0)
    return sums(rows)


def test_a_pass_that_stands_still_again_and_again_ends_in_a_sentence(client: Client) -> None:
    with DaskReducer(layout_of(Seeded(11)), client, patience=1.0) as reducer:
        with pytest.raises(
            DaskEMError, match=r"pass 0 over seeded: nothing moved for 1 seconds on tcp.*raise patience"
        ):
            reducer.total(hangs_always)
        assert left(client, reducer._run) == []


def test_a_pass_may_take_longer_than_the_patience(client: Client) -> None:
    warmed(client)
    patience, blocks = 1.5, 48  # of which eight in a task take 0.8 seconds, all on two workers 2.4
    with DaskReducer(layout_of(Seeded(blocks), blocks, slab_rows=100), client, patience=patience) as reducer:
        began = time.monotonic()
        reducer.total(takes_long)
        assert time.monotonic() - began > patience
        assert reducer.news() == ()


def hangs_for_good(mark: Path, rows: Rows) -> Any:
    if rows.index[0] == 0 and not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(600)
    return sums(rows)


def hangs_for_good_and_late(folder: Path, rows: Rows) -> Any:
    """Hang for good in the first block, and for a while in the first that another worker has."""
    late = folder / "late"
    if rows.index[0] > 0 and not late.exists():
        late.touch()
        time.sleep(3.5)
    return hangs_for_good(folder / "hung", rows)


@contextmanager
def killed_after(mark: Path, client: Client) -> Iterator[None]:
    """Kill the worker that hangs, for the tests that follow."""
    yield
    os.kill(int(mark.read_text()), signal.SIGKILL)
    while len(client.nthreads()) > 1:
        time.sleep(0.01)
    client.wait_for_workers(2)


@pytest.mark.chaos
def test_a_worker_that_hangs_for_good_is_done_without(tmp_path: Path, frail: Client) -> None:
    warmed(frail)
    layout = layout_of(Seeded(24), 24)
    with killed_after(tmp_path / "hung", frail), DaskReducer(layout, frail, patience=3.0) as reducer:
        got = reducer.total(partial(hangs_for_good, tmp_path / "hung"))
        assert len(reducer.news()) == 1
    assert digest(got) == digest(Serial(layout).total(sums))


@pytest.mark.chaos
def test_a_worker_that_hangs_for_good_is_told_from_one_that_goes_on(tmp_path: Path, frail: Client) -> None:
    layout, still = layout_of(Seeded(24), 24), 0
    for number in range(5):  # who is late may have been given the first block too: then it alone stands still
        warmed(frail)
        folder = tmp_path / str(number)
        folder.mkdir()
        with killed_after(folder / "hung", frail), DaskReducer(layout, frail, patience=2.0) as reducer:
            got = reducer.total(partial(hangs_for_good_and_late, folder))
            first, second = reducer.news()
        assert second.count("tcp://") == 1
        assert digest(got) == digest(Serial(layout).total(sums))
        still = first.count("tcp://")
        if still == 2:
            break
    assert still == 2


def test_threads_stop_where_one_of_them_fails() -> None:
    begun: list[int] = []

    def slow(rows: Rows) -> Any:
        begun.append(int(rows.index[0]))
        if rows.index[0] == 0:
            raise DataError("the first row is not finite; clean it first")
        time.sleep(0.01)
        return sums(rows)

    layout = layout_of(Seeded(40), 40, slab_rows=10)
    with pytest.raises(DataError, match="the first row"):
        Threads(layout, 2).total(slow)
    assert len(begun) < 40
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dask_em")]


def test_threads_stop_where_the_user_interrupts() -> None:
    done: list[int] = []

    def interrupting(rows: Rows) -> Any:
        if len(done) == 5:
            signal.raise_signal(signal.SIGINT)
        done.append(1)
        time.sleep(0.005)
        return sums(rows)

    with pytest.raises(KeyboardInterrupt):
        Threads(layout_of(Seeded(200), 200), 2).total(interrupting)
    assert len(done) < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dask_em")]


def test_data_without_rows_and_no_threads_are_refused(client: Client) -> None:
    empty = layout_of(Seeded(0))
    for make in (Threads, partial(DaskReducer, client=client)):
        with pytest.raises(InputError, match="seeded has no rows"):
            make(empty)
    with pytest.raises(InputError, match="threads=0 cannot compute"):
        Threads(layout_of(Seeded(1)), 0)
