from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
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

from dask_em import GaussianMixture
from dask_em._record import digest
from dask_em.errors import DaskEMError
from dask_em.execution.cluster import ClusterSettings, connect
from dask_em.execution.dask_reducer import DaskReducer
from dask_em.reduction import Serial
from dask_em.rows import Rows
from dask_em.statistics import Joint
from tests.execution.cases import Seeded, layout_of, sums

pytestmark = [pytest.mark.chaos, pytest.mark.clusters, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
GONE = r"the Dask scheduler at tcp://127.0.0.1:\d+ is gone or out of reach, in pass \d+ over \w+ .*Checkpoints"


class Cluster:
    """A scheduler and a worker, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self) -> None:
        """Start both, where they were where they have been."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2] or "0"
        self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--scheduler-file", str(file))
        self._start("worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1", "--memory-limit", "1GiB")
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.05)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            self.address = client.scheduler.address

    def _start(self, kind: str, *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, "--no-dashboard"]
        with (self.folder / "log").open("a") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder))

    def signal(self, number: int) -> None:
        """Send a signal to all; who is killed is waited for."""
        for process in self.processes:
            process.send_signal(number)
        if number == signal.SIGKILL:
            while self.processes:
                self.processes.pop().wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    made = Cluster(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.signal(signal.SIGKILL)
        logger.setLevel(before)


@contextmanager
def reached(cluster: Cluster) -> Iterator[Client]:
    """Give a client that tries to reach a lost scheduler for two seconds, and leaves none waiting for an answer."""
    with connect(ClusterSettings("address", address=cluster.address, timeout=2, resident="0")) as client:
        assert client is not None
        try:
            yield client
        finally:
            cluster.signal(signal.SIGKILL)


def slowly(rows: Rows) -> Joint:
    time.sleep(0.1)
    return sums(rows)


def fitted(checkpoints: Path, client: Client | None, resume: bool = False, at_two: Any = None) -> str:
    model = GaussianMixture(2, max_iter=6, tol=0, random_state=0)
    rows = np.random.default_rng(0).standard_normal((40_000, 3))
    for iteration in model.iterate(rows, client=client, checkpoints=checkpoints, resume=resume):
        if iteration.entry.number == 2 and at_two is not None:
            at_two()
    return digest(model._fitted.params)


def test_killed_between_two_passes_the_fit_ends_in_a_sentence_and_can_be_resumed(
    cluster: Cluster, tmp_path: Path
) -> None:
    with reached(cluster) as client, pytest.raises(DaskEMError, match=GONE):
        fitted(tmp_path / "kept", client, at_two=lambda: cluster.signal(signal.SIGKILL))
    assert fitted(tmp_path / "kept", None, resume=True) == fitted(tmp_path / "whole", None)


FROZEN = pytest.param(signal.SIGSTOP, id="frozen", marks=pytest.mark.slow)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, id="killed"), FROZEN])
def test_lost_in_the_middle_of_a_pass(number: int, cluster: Cluster) -> None:
    with reached(cluster) as client, DaskReducer(layout_of(Seeded(24), 24), client, patience=1.0) as reducer:
        losing = threading.Timer(0.5, partial(cluster.signal, number))
        losing.start()
        with pytest.raises(DaskEMError, match=GONE):
            reducer.total(slowly)
        losing.join()


@pytest.mark.slow
def test_one_that_comes_back_in_time_goes_on(cluster: Cluster) -> None:
    def back() -> None:
        cluster.signal(signal.SIGKILL)
        cluster.start()

    layout = layout_of(Seeded(24), 24)
    with Client(cluster.address, timeout=60, set_as_default=False) as client, DaskReducer(layout, client) as reducer:
        losing = threading.Timer(0.5, back)
        losing.start()
        got = reducer.total(slowly)
        losing.join()
        assert len(reducer.news()) == 1
    assert digest(got) == digest(Serial(layout).total(sums))
