"""A first worker that does not come ends in a sentence: in the queue's words, or those of the job's own log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dask_em
from dask_em.cli.app import app
from dask_em.errors import ClusterError, InputError
from dask_em.execution.launchers import attendance
from tests.clusters.jobs import ON_SLURM, overrides
from tests.clusters.slurm import Slurm

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(120)]
CONFIG = str(Path(__file__).parents[2] / "configs/slurm.yaml")
FAILING = {"job_script_prologue": ["echo there is no such module >&2", "exit 3"]}


def ended(**settings: Any) -> str:
    with pytest.raises((ClusterError, InputError)) as told, dask_em.cluster(**ON_SLURM | settings):
        pass
    return str(told.value)


def test_by_sbatch(slurm: Slurm) -> None:
    done = CliRunner().invoke(app, ["fit", CONFIG, *overrides(ON_SLURM | {"queue": "nowhere"})])
    assert done.exit_code == 2
    assert done.stderr == (
        "error: the queue takes no job: sbatch: error: invalid partition specified: nowhere; "
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )


def test_by_the_log_of_a_job_that_has_failed(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "LOOK", 1.0)
    sentence = ended(kwargs=FAILING)
    assert re.fullmatch(
        r"every job was over before its worker came\. its log \S+/dask-em-jobs/dask-em-\d+\.err ends with: "
        "there is no such module",
        sentence,
    )


def test_by_the_log_of_a_job_that_finds_no_dask_em(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "LOOK", 1.0)
    Path("elsewhere/dask_em").mkdir(parents=True)
    Path("elsewhere/dask_em/__init__.py").write_text("raise ImportError('no dask_em is here')")
    sentence = ended(kwargs={"job_script_prologue": [f"export PYTHONPATH={Path('elsewhere').absolute()}"]})
    assert re.match(r"every job was over .* ends with: .*ImportError: no dask_em is here", sentence)


def test_by_the_queue(slurm: Slurm) -> None:
    held = {"job_extra_directives": ["--hold"]}
    sentence = ended(kwargs=held, timeout=2)
    assert re.fullmatch(
        r"no worker of cluster.kind slurm came within 2 seconds: jobs in the queue: "
        r"\d+, \d+ PENDING JobHeldUser\. Mend that, or wait longer \(cluster\.timeout\)",
        sentence,
    )


def test_where_the_library_refuses(slurm: Slurm) -> None:
    assert "got an unexpected keyword argument 'colour'. Look at cluster.interface" in ended(kwargs={"colour": "red"})
    assert "'nowhere0' is not a valid network interface" in ended(interface="nowhere0")


def test_where_there_is_no_sbatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ended() == (
        "cluster.kind slurm submits jobs with sbatch, which is not on this machine's path; start the fit where jobs "
        "are submitted"
    )


def test_on_the_terminal_while_it_waits(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.execution.cluster.TOLD_FIRST", 0.5)
    on_slurm = ON_SLURM | {"kwargs": '{job_extra_directives: ["--begin=now+60"]}', "timeout": 2}
    done = CliRunner().invoke(app, ["fit", CONFIG, *overrides(on_slurm)])
    assert done.exit_code == 3
    waiting = r"waiting for a first worker\. jobs in the queue: \d+, \d+ PENDING BeginTime"
    assert re.match(waiting, done.stderr)
    assert re.search(waiting, Path("runs/slurm/fit.log").read_text())
