"""What users of a job queue call: each script with its config, on a real Slurm; PBS's through qsub over the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

import dask_em
from dask_em.cli.app import app
from dask_em.driver import Checkpoints
from tests.clusters.jobs import ON_SLURM, SMALL, TIMEOUT, fitted, overrides
from tests.clusters.slurm import Slurm, until

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
NO_PBS = [each for each in ("qsub", "qdel", "qstat") if shutil.which(each) is None]
needs_pbs = pytest.mark.skipif(bool(NO_PBS), reason=f"{NO_PBS} not installed: apt-get install slurm-wlm-torque")
ON_PBS = {"kind": "pbs", **SMALL}
SIXTY = {"max_passes": 60, "checkpoint_every": 0, "accelerate": "false"}  # a second and more


def run(script: str, edited: dict[str, str], config: str, *words: str) -> str:
    """Call a script whose lines are edited, from a folder that is not the repository's; return what it says."""
    scripts = Path("repository/scripts").absolute()
    shutil.copytree(ROOT / "scripts", scripts, dirs_exist_ok=True)
    text = (scripts / script).read_text()
    for line, other in edited.items():
        assert text.count(line) == 1
        text = text.replace(line, other)
    (scripts / script).write_text(text)
    command = [str(scripts / script), str(CONFIGS / config), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed() -> str:
    """Return what jobs have printed."""
    paths = [path for path in sorted(Path().iterdir()) if re.search(r"\.out$|\.[oe]\d+$|\.log$", path.name)]
    return "\n".join(f"{path.name}: {path.read_text()}" for path in paths)


def means(run: str) -> bytes:
    model = Path(f"runs/{run}/model.npz")
    assert model.exists(), printed()
    found: bytes = dask_em.load(model).means_.tobytes()
    return found


def means_here(config: str, **fit: Any) -> bytes:
    """Return the means of the same fit in the threads of this process."""
    nothing = dict.fromkeys([*SMALL, "scheduler_file"], "null") | {"kind": "threads", "threads_per_worker": 1}
    words = [*overrides(nothing, **fit), "--set", "output.directory=runs/here"]
    done = CliRunner().invoke(app, ["fit", str(CONFIGS / config), *words])
    assert done.exit_code == 0, done.output
    return means("here")


def test_in_one_allocation(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERFACE", "lo")
    edited = {"--ntasks=4": "--ntasks=2", "--mem-per-cpu=4G": "--mem-per-cpu=600M", "--time=04:00:00": "--time=10"}
    said = run("slurm_allocation.sh", edited, "slurm-allocation.yaml", *overrides({}))
    assert said.startswith("Submitted batch job ")
    until(lambda: not slurm.jobs(), "the job has ended", TIMEOUT)
    assert means("slurm-allocation") == means_here("slurm-allocation.yaml")
    assert not [*Path().glob(".dask-em-*")]


def test_and_again_until_it_is_done(slurm: Slurm) -> None:
    """The first job is told that its time is up, as Slurm does before the walltime; the next one goes on."""
    checkpoints = Checkpoints(Path("runs/slurm/checkpoints"))
    edited = {"--mem=4G": "--mem=1G", "--time=24:00:00": "--time=10"}
    (first,) = re.findall(r"\d+", run("slurm_jobqueue.sh", edited, "slurm.yaml", *overrides(ON_SLURM, **SIXTY)))
    until(checkpoints.names, "there is a checkpoint", TIMEOUT)
    slurm.ask("scancel", "--signal=USR1", "--batch", first)
    until(lambda: not slurm.jobs(), "all jobs have ended", TIMEOUT)
    log = Path("runs/slurm/fit.log").read_text()
    assert "stopped by SIGTERM; to go on:" in log, printed()
    assert log.count(" resumes ") == 1
    assert means("slurm") == means_here("slurm.yaml", **SIXTY)


@needs_pbs
def test_through_qsub(slurm: Slurm) -> None:
    with dask_em.cluster(**ON_PBS | {"kwargs": {"job_extra_directives": ["-V"]}}):
        there = fitted()
    assert there == fitted()


@needs_pbs
@pytest.mark.slow
def test_through_qsub_and_again_until_it_is_done(slurm: Slurm) -> None:
    checkpoints = Checkpoints(Path("runs/pbs/checkpoints"))
    edited = {"mem=4GB": "mem=1GB", "walltime=24:00:00": "walltime=00:10:00"}
    on_pbs = ON_PBS | {"kwargs": '{job_extra_directives: ["-V"]}'}
    (first,) = re.findall(r"\d+", run("pbs_jobqueue.sh", edited, "pbs.yaml", *overrides(on_pbs, **SIXTY)))
    until(checkpoints.names, "there is a checkpoint", TIMEOUT)
    clock_of(first).send_signal(signal.SIGALRM)
    until(lambda: not slurm.jobs(), "all jobs have ended", TIMEOUT)
    assert Path("runs/pbs/fit.log").read_text().count(" resumes ") == 1, printed()
    assert means("pbs") == means_here("pbs.yaml", **SIXTY)


def clock_of(job: str) -> psutil.Process:
    """Return the program ``timeout`` of a job of this Slurm, which SIGALRM tells that the time is up."""
    mine = {"SLURM_JOB_ID": job, "SLURM_CONF": os.environ["SLURM_CONF"]}
    clocks = [each for each in psutil.process_iter(["name"]) if each.info["name"] == "timeout"]
    (found,) = [each for each in clocks if mine.items() <= each.environ().items()]
    return found
