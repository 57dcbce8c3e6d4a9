"""Whatever way a fit ends, its jobs end with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.core import Status

import dask_em
from dask_em.execution.launchers.submission import careful
from tests.clusters.jobs import ON_SLURM, PROGRAM, TIMEOUT, mixture, overrides, started
from tests.clusters.slurm import Slurm, until

pytestmark = [pytest.mark.clusters, pytest.mark.chaos, pytest.mark.timeout(300)]
CONFIG = str(Path(__file__).parents[2] / "configs/slurm.yaml")
ENDLESS = overrides(ON_SLURM, max_passes=100_000, checkpoint_every=0, accelerate="false")


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        pytest.param(signal.SIGINT, 130, "stopped by Ctrl-C\n", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        pytest.param(signal.SIGHUP, 129, "stopped by SIGHUP\n", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, "", marks=pytest.mark.slow),
    ],
)
def test_where_it_is_stopped(slurm: Slurm, number: signal.Signals, status: int, said: str) -> None:
    with started(PROGRAM, "fit", CONFIG, *ENDLESS) as fit:
        until(lambda: [*Path("runs/slurm/checkpoints").glob("checkpoint-*")], "there is a checkpoint", TIMEOUT)
        assert slurm.jobs("running")
        fit.send_signal(number)
        _, errors = fit.communicate(timeout=TIMEOUT)
    assert fit.returncode == status, errors
    assert errors.endswith(said)
    assert "Traceback" not in errors
    until(lambda: not slurm.jobs(), "the queue is empty", TIMEOUT)


def test_where_it_is_stopped_while_jobs_are_submitted(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Path("slow/sbatch").absolute()
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ntouch asked\nsleep 2\nexec {shutil.which("sbatch")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    with started(PROGRAM, "fit", CONFIG, *ENDLESS) as fit:
        until(Path("asked").exists, "sbatch is called", TIMEOUT)
        fit.send_signal(signal.SIGINT)
        _, errors = fit.communicate(timeout=TIMEOUT)
    assert (fit.returncode, errors) == (130, "nothing was reached yet that could be resumed\nstopped by Ctrl-C\n")
    assert {*slurm.ask("squeue", "--noheader", "--format=%T").split()} <= {"COMPLETING"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_where_a_model_is_asked(slurm: Slurm, number: signal.Signals, status: int) -> None:
    model = mixture(max_iter=1)
    assert list(model.iterate("data.zarr"))
    model.save("model.npz")
    held = {"job_extra_directives": ["--hold"]}
    sections = {"data": {"source": "data.zarr"}, "model": {"components": 4}, "output": {"directory": "run"}}
    Path("held.yaml").write_text(yaml.safe_dump(sections | {"cluster": {**ON_SLURM, "kwargs": held}}))
    with started(PROGRAM, "score", "model.npz", "held.yaml") as asked:
        until(slurm.jobs, "there are jobs", TIMEOUT)
        asked.send_signal(number)
        _, errors = asked.communicate(timeout=TIMEOUT)
    assert (asked.returncode, errors.splitlines()[-1]) == (status, f"stopped by {number.name}")
    assert not slurm.jobs()


def test_where_a_lost_job_is_just_being_closed() -> None:
    seen = []

    class Cancelling:
        status = Status.running

        async def close(self) -> None:
            seen.append(self.status)  # as a cluster sees it that is closed now

    job = careful(Cancelling)()
    asyncio.run(job.close())
    assert [*seen, job.status] == [Status.closing, Status.closed]


def test_where_it_fails(slurm: Slurm) -> None:
    def fails() -> Any:
        assert slurm.jobs()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), dask_em.cluster(**ON_SLURM):
        fails()


@pytest.mark.slow
def test_where_it_is_done(slurm: Slurm) -> None:
    with started(PROGRAM, "fit", CONFIG, *overrides(ON_SLURM)) as fit:
        _, errors = fit.communicate(timeout=TIMEOUT)
    assert fit.returncode == 0, errors
    assert {*slurm.ask("squeue", "--noheader", "--format=%T").split()} <= {"COMPLETING"}
    assert Path("runs/slurm/model.npz").exists()
