"""What jobs are told, by the libraries' own constructors: of SGE, LSF, HTCondor and OAR nothing else is tested here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dask_em.cli.app import app
from dask_em.errors import InputError
from dask_em.execution.cluster import ClusterSettings, job_script
from dask_em.execution.kinds import misfit
from dask_em.execution.launchers.jobqueue import JobQueueCluster
from dask_em.execution.launchers.queues import QUEUES
from dask_em.execution.launchers.walltime import lifetime_of, seconds_of, told_in_hours, told_in_minutes

CONFIGS = Path(__file__).parents[2] / "configs"
TOLD = {
    "workers": 3,
    "threads_per_worker": 2,
    "memory_limit": "4GiB",
    "walltime": "1-02:30:00",
    "queue": "long",
    "account": "stars",
    "interface": "lo",
}
LINES = {
    "slurm": ["#SBATCH -p long", "#SBATCH -A stars", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=4G", "-t 26:30:00"],
    "pbs": ["#PBS -q long", "#PBS -A stars", "#PBS -l select=1:ncpus=2:mem=4096MB", "#PBS -l walltime=26:30:00"],
    "sge": ["#$ -q long", "#$ -P stars", "#$ -l h_rt=26:30:00"],
    "lsf": ["#BSUB -q long", '#BSUB -P "stars"', "#BSUB -n 2", "#BSUB -M 4294968", "#BSUB -W 26:30"],
    "oar": ["#OAR -q long", "#OAR --project stars", "#OAR -l /nodes=1/core=2,walltime=26:30:00", "-p memcore>=2048"],
    "htcondor": [
        "MY.DaskWorkerCores = 2",
        "MY.DaskWorkerMemory = 4294967296",
        "accounting_group = stars",
        "periodic_remove = (JobStatus == 2) && (time() - EnteredCurrentStatus > 95400)",
    ],
}
LOADED = """
import signal
before = signal.getsignal(signal.SIGINT)
import dask_em.execution.launchers.jobs
print(signal.getsignal(signal.SIGINT) is before)
"""
OF_ALL = [
    "distributed.cli.dask_worker SCHEDULER --name dask-em-0 --nthreads 2 --memory-limit 4.00GiB --nanny",
    "--death-timeout 60",
    "--lifetime 94500s --lifetime-stagger 600s --dashboard-address 127.0.0.1:0 --preload dask_em --interface lo",
    "export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False",
    "export DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False",
]


def settings(kind: Any, **more: Any) -> ClusterSettings:
    told: dict[str, Any] = {**TOLD, **more}
    if kind == "oar":
        told["kwargs"] = {"memory_per_core_property_name": "memcore", **told.get("kwargs", {})}
    if kind == "htcondor":
        told["queue"] = None
    return ClusterSettings(kind, **told)


@pytest.mark.parametrize("kind", QUEUES)
def test_in_a_job_script(kind: str) -> None:
    script = job_script(settings(kind))
    for line in [*LINES[kind], *OF_ALL]:
        assert line in script


@pytest.mark.parametrize("kind", QUEUES)
def test_with_the_users_own_arguments_last(kind: str) -> None:
    more = {"worker_extra_args": ["--local-directory", "/scratch"], "job_script_prologue": ["module load python"]}
    script = job_script(settings(kind, kwargs={**more, "job_name": "mine"}))
    assert "--interface lo" in script
    assert "--preload dask_em --local-directory /scratch" in script
    assert script.index("export DASK_DISTRIBUTED") < script.index("module load python") < script.index("dask_worker")


def test_with_the_sites_configuration_between() -> None:
    site = {"jobqueue.slurm.job-script-prologue": ["module load site"], "jobqueue.slurm.log-directory": "/logs"}
    with dask.config.set(site):
        script = job_script(settings("slurm", kwargs={"job_script_prologue": ["module load mine"]}))
    assert script.index("export DASK_DISTRIBUTED") < script.index("load site") < script.index("load mine")
    assert "#SBATCH -e /logs/dask-em-%J.err" in script


def test_with_a_python_in_a_folder_with_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my tools/python")
    assert "\n'/opt/my tools/python' -m distributed.cli.dask_worker " in job_script(settings("slurm"))
    assert "\npython3 -m distributed" in job_script(settings("slurm", kwargs={"python": "python3"}))


def test_without_the_secrets_where_it_is_shown() -> None:
    lines = ["export MY_TOKEN=hush", "export AWS_SECRET_ACCESS_KEY='hu sh hush' REGION=here"]
    script = job_script(settings("slurm", kwargs={"job_script_prologue": lines}))
    assert "\nexport MY_TOKEN=***\nexport AWS_SECRET_ACCESS_KEY=*** REGION=here\n" in script


@pytest.mark.parametrize("name", ["my rows", "it's", 'a "b"'])
def test_but_no_folder_that_it_cannot_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(InputError, match=r"cannot name a folder with blanks or quotes.*cluster\.kwargs\.log_directory"):
        job_script(settings("slurm"))
    assert "#SBATCH -e /logs/" in job_script(settings("slurm", kwargs={"log_directory": "/logs"}))


@pytest.mark.parametrize("kind", QUEUES)
def test_with_certificates_that_are_made_when_the_fit_begins(kind: str) -> None:
    told = "--protocol tls:// --tls-ca-file CA_FILE --tls-cert CERT --tls-key KEY"
    assert told in job_script(settings(kind, security="tls"))


def test_but_no_queue_where_there_is_none() -> None:
    given = {name: value for name, value in TOLD.items() if value}
    assert "write kind: slurm or pbs or sge or lsf or oar to use it" in (misfit("htcondor", given) or "")


@pytest.mark.parametrize("kind", QUEUES)
def test_by_commands_that_exist(kind: str) -> None:
    queue = QUEUES[kind]
    assert issubclass(queue.cluster, JobQueueCluster)
    assert queue.listing[0] in {"squeue", "qstat", "bjobs", "condor_q", "oarstat"}


@given(st.integers(1, 10**7))
def test_with_a_lifetime_that_ends_before_the_walltime(walltime: int) -> None:
    lifetime, spread = lifetime_of(walltime)
    assert lifetime - spread >= 1 or walltime < 5
    assert lifetime + spread <= max(1, walltime - min(300, 0.2 * walltime) + 1)
    assert seconds_of(told_in_hours(walltime)) == walltime
    assert 0 <= seconds_of(f"{told_in_minutes(walltime)}:00") - walltime < 60


@pytest.mark.parametrize("wrong", ["4", "4h", "00:00:00", "1:2:3", "-1:00:00", ""])
def test_and_no_walltime_that_is_none(wrong: str) -> None:
    with pytest.raises(InputError, match=f"cluster.walltime is '{wrong}'; give hours, minutes and seconds"):
        seconds_of(wrong)


def test_and_ctrl_c_is_left_as_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"


def test_as_a_plan_shows() -> None:
    def shown(*words: str) -> Any:
        return CliRunner().invoke(app, ["plan", "--job-script", *words])

    done = shown(str(CONFIGS / "slurm.yaml"), "--set", "cluster.queue=long")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("#!/usr/bin/env bash\n")
    assert "#SBATCH -p long\n" in done.stdout
    for config, sentence in (
        (
            "address.yaml",
            "error: cluster.kind address submits no jobs; --job-script is for job queues, such as slurm\n",
        ),
        ("selection.yaml", "error: cluster.kind threads starts nothing; --job-script is for job queues"),
    ):
        done = shown(str(CONFIGS / config))
        assert done.exit_code == 2
        assert done.stderr.startswith(sentence)


@pytest.mark.parametrize("config", ["slurm.yaml", "slurm-allocation.yaml", "pbs.yaml"])
def test_as_planned(folder: Path, config: str) -> None:
    done = CliRunner().invoke(app, ["plan", "--no-trial", str(CONFIGS / config)])
    assert done.exit_code == 0, done.output
    assert "40,000 rows" in done.stdout
