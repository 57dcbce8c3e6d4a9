"""Fits on jobs of Slurm come to the bits of a local fit, whatever becomes of the jobs meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dask_em
from dask_em.execution.launchers import attendance, jobs
from tests.clusters.jobs import ON_SLURM, SMALL, TIMEOUT, bits, fitted, mixture
from tests.clusters.slurm import Slurm, until

pytestmark = [pytest.mark.clusters, pytest.mark.chaos, pytest.mark.timeout(300)]
SOON = {"interval": "200ms"}


def workers(client: Any) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test has no half a minute to find out that a worker is lost."""
    monkeypatch.setattr(jobs, "LOST", "500ms")
    monkeypatch.setattr(jobs, "QUICK", SOON)
    monkeypatch.setattr(attendance, "LOOK", 1.0)


def test_in_the_midst_of_a_fit(slurm: Slurm, hasty: None) -> None:
    here = fitted()
    with dask_em.cluster(**ON_SLURM) as client:
        there = mixture()
        for number, _ in enumerate(there.iterate("data.zarr")):
            if number == 2:
                until(lambda: workers(client) == 2, "both workers are there")
                slurm.ask("scancel", "--signal=KILL", slurm.jobs()[0])
                until(lambda: len(slurm.jobs("running")) == 2, "another job runs", TIMEOUT)
                until(lambda: workers(client) == 2, "its worker is there", TIMEOUT)
    assert number > 2
    assert bits(there) == here


def test_while_it_waits(slurm: Slurm, hasty: None) -> None:
    """The queue has no room for the third job, which nobody has seen when it is lost."""
    with dask_em.cluster(**ON_SLURM | {"workers": 3, "memory_limit": "6GB"}) as client:
        until(lambda: workers(client) == 2, "two workers are there", TIMEOUT)
        (waiting,) = slurm.jobs("pending")
        slurm.ask("scancel", waiting)
        until(lambda: slurm.jobs("pending") not in ([], [waiting]), "another job waits", TIMEOUT)


@pytest.mark.slow
def test_with_encryption_too(slurm: Slurm) -> None:
    with dask_em.cluster("slurm", **SMALL, security="tls") as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        assert [path.name for path in Path("dask-em-jobs").glob(".certificates-*/key.pem")]
        there = fitted(max_iter=3)
    assert not [*Path("dask-em-jobs").glob(".*")]
    assert there == fitted(max_iter=3)
