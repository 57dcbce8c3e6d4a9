from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client
from distributed.core import Status

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.statistics import Joint
from tests.execution.cases import Seeded, layout_of, sums
from tests.execution.test_a_pass_leaves_nothing_behind import left

pytestmark = [pytest.mark.chaos, pytest.mark.clusters]

WORKERS = 3
PHASES = {"read", "est", "mrg"}


class Slow(Seeded):
    """Takes its time to be read."""

    def load(self, atom: Any, rows: slice = slice(None)) -> Rows:
        time.sleep(0.02)
        return super().load(atom, rows)


@dataclass(frozen=True)
class Slowly:
    """A sum that takes its time to be added up."""

    sums: Joint

    def __add__(self, other: Slowly) -> Slowly:
        time.sleep(0.01)
        return Slowly(self.sums + other.sums)


def slowly(rows: Rows) -> Slowly:
    time.sleep(0.01)
    return Slowly(sums(rows))


@pytest.fixture(scope="module")
def frail() -> Iterator[Client]:
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # it reports each death at length
    with connect(ClusterSettings("local", workers=WORKERS, memory_limit="2GiB")) as client:
        yield client
    logger.setLevel(before)


def alive(client: Any) -> dict[int, Any]:
    """Return the workers that the scheduler knows, by their process."""
    known = client.cluster.scheduler.workers
    nannies = [nanny for nanny in list(client.cluster.workers.values()) if nanny.status is Status.running]
    return {nanny.pid: known[nanny.worker_address] for nanny in nannies if nanny.worker_address in known}


class Killer(threading.Thread):
    """Kills a worker of a local cluster, again and again: any that has finished a task, where another one has, too.

    Workers that die before their first task ends, which waits for imports, would show nothing. Moments are by chance,
    but as long as none was killed in some phase, the next one is in it: sums of blocks are added up in a small part of
    a pass.
    """

    def __init__(self, client: Any, pause: float) -> None:
        super().__init__()
        self.client, self.pause = client, pause
        self.random = random.Random(0)
        self.killed: set[int] = set()
        self.phases: set[str] = set()  # prefixes of the tasks that the killed had
        self.end = threading.Event()

    def run(self) -> None:
        while not self.end.wait(self.random.uniform(0, 2 * self.pause)):
            missed = PHASES - self.phases
            chosen = self._within(missed) if missed else None
            workers = {pid: worker for pid, worker in alive(self.client).items() if pid and worker.has_what}
            if len(workers) > 1:
                pid = chosen if chosen in workers else self.random.choice(sorted(workers))
                tasks = tuple(workers[pid].processing)
                os.kill(pid, signal.SIGKILL)
                self.killed.add(pid)
                self.phases |= {task.prefix.name for task in tasks}

    def _within(self, phases: set[str], seconds: float = 2.0) -> int | None:
        """Wait for a worker that has a task of these phases, and return its process."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.end.is_set():
            for pid, worker in alive(self.client).items():
                if any(task.prefix.name in phases for task in tuple(worker.processing)):
                    return pid
            time.sleep(0.002)
        return None


@contextmanager
def killing(client: Client, pause: float) -> Iterator[Killer]:
    killer = Killer(client, pause)
    killer.start()
    try:
        yield killer
    finally:
        killer.end.set()
        killer.join()


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_sums(kills: int, frail: Any) -> None:
    layout = layout_of(Slow(24), 24)
    expected = digest(Serial(layout).total(sums))
    with killing(frail, 0.3) as killer:
        while len(killer.killed) < kills or (not killer.phases >= PHASES and len(killer.killed) < 4 * kills):
            assert killer.is_alive()
            with DaskReducer(layout, frail) as reducer:
                for _ in range(3):
                    assert digest(reducer.total(slowly).sums) == expected
                run = reducer._run
    assert killer.phases >= PHASES
    assert left(frail, run) == []


@pytest.mark.slow
def test_a_whole_fit(tmp_path: Path, frail: Client) -> None:
    chance = np.random.default_rng(0)
    rows = chance.standard_normal((200_000, 6)) + 3 * chance.integers(3, size=(200_000, 1))
    zarr.create_array(tmp_path / "rows.zarr", data=rows.astype(np.float32), chunks=(4_000, 6))

    def fitted(client: Client | None) -> tuple[Any, ...]:
        model = GaussianMixture(4, tol=0, max_iter=20, n_init=2, random_state=0)
        for _ in model.iterate(tmp_path / "rows.zarr", client=client):
            pass
        return digest(model._fitted.params), model.lower_bounds_, digest(model._fitted.frame)

    expected = fitted(None)
    with killing(frail, 0.3) as killer:
        while len(killer.killed) < 30:
            assert killer.is_alive()
            assert fitted(frail) == expected


def marks(path: Path, rows: Rows) -> Joint:
    """Leave a mark in the middle of a pass."""
    time.sleep(0.02)
    if rows.index[0] > 800:
        path.touch()
    return sums(rows)


def test_all_workers_at_once(tmp_path: Path, frail: Client) -> None:
    killed: set[int] = set()

    def kill_all() -> None:
        while not (tmp_path / "mark").exists():
            time.sleep(0.01)
        for pid in alive(frail):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)

    layout = layout_of(Seeded(24), 24)
    frail.wait_for_workers(WORKERS)
    with DaskReducer(layout, frail) as reducer:
        thread = threading.Thread(target=kill_all)
        thread.start()
        got = reducer.total(partial(marks, tmp_path / "mark"))
        thread.join()
    assert len(killed) == WORKERS
    assert digest(got) == digest(Serial(layout).total(sums))
