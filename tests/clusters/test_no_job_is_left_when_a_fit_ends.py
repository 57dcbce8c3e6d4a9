"""Whatever way a fit ends, its jobs end with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import dask_em
from tests.clusters.jobs import ON_SLURM, PROGRAM, TIMEOUT, overrides, started
from tests.clusters.slurm import Slurm, until

pytestmark = [pytest.mark.clusters, pytest.mark.chaos, pytest.mark.timeout(300)]
CONFIG = str(Path(__file__).parents[2] / "configs/slurm.yaml")
ENDLESS = overrides(ON_SLURM, max_passes=100_000, checkpoint_every=0, accelerate="false")


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        pytest.param(signal.SIGINT, 130, "stopped by Ctrl-C\n", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
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
