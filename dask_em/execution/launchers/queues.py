"""What sets one job queue apart from the others: how dask-jobqueue is told the same things, and how jobs are listed."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dask_em.execution.kinds import ClusterSettings
from dask_em.execution.launchers.jobqueue import (
    HTCondorCluster,
    LSFCluster,
    OARCluster,
    PBSCluster,
    SGECluster,
    SLURMCluster,
)
from dask_em.execution.launchers.walltime import told_in_hours, told_in_minutes

__all__ = ["QUEUES", "Queue", "number_of"]

ANSWER = 30.0  # seconds that a queue has to list jobs

Terms = Callable[[ClusterSettings, int], dict[str, Any]]


@dataclass(frozen=True)
class Queue:
    """A kind of job queue."""

    cluster: Any  # dask-jobqueue's class
    terms: Terms  # settings and the seconds of the walltime, in its keywords
    listing: tuple[str, ...]  # the command that lists a user's jobs, one a line
    over: frozenset[str] = frozenset()  # words that a line has whose job is over

    def listed(self) -> dict[str, str] | None:
        """Return the lines of this user's jobs that are not over, by the job's number; None: the queue does not say."""
        command = [each.format(user=getpass.getuser()) for each in self.listing]
        try:
            done = subprocess.run(  # noqa: S603  # of its own session: a terminal's Ctrl-C is for us
                command, capture_output=True, text=True, timeout=ANSWER, check=False, start_new_session=True
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        return {number_of(line): line for line in lines if number_of(line) and not self.over & {*line.split()}}


def number_of(job: str) -> str:
    """Return the digits that a job's name, or a line about it, begins with."""
    found = re.match(r"\d+", job)
    return found.group() if found else ""


def _terms(account: str, clock: Callable[[int], str] = told_in_hours) -> Terms:
    """Return how settings are told where they are options of every job, with the keyword of who is charged."""
    return lambda settings, seconds: {
        "queue": settings.queue,
        account: settings.account,
        "walltime": clock(seconds),
    }


def _attributes(settings: ClusterSettings, seconds: int) -> dict[str, Any]:
    """Return what HTCondor is told, which has neither queues nor walltimes: it removes what has run for so long."""
    over = f"(JobStatus == 2) && (time() - EnteredCurrentStatus > {seconds})"
    charged = {"accounting_group": settings.account} if settings.account else {}
    return {"disk": "1GB", "job_extra_directives": {"periodic_remove": over, **charged}}


QUEUES = {
    "slurm": Queue(
        SLURMCluster, _terms("account"), ("squeue", "--noheader", "--user={user}", "--format=%A %T %r")
    ),
    "pbs": Queue(PBSCluster, _terms("account"), ("qstat", "-u", "{user}"), frozenset({"C", "F"})),
    "sge": Queue(SGECluster, _terms("project"), ("qstat", "-u", "{user}")),
    "lsf": Queue(LSFCluster, _terms("project", told_in_minutes), ("bjobs", "-u", "{user}")),
    "htcondor": Queue(HTCondorCluster, _attributes, ("condor_q", "-nobatch", "{user}")),
    "oar": Queue(OARCluster, _terms("project"), ("oarstat", "-u", "{user}")),
}  # fmt: skip
