"""Workers that are jobs of a queue, on dask-jobqueue."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import dask
from distributed.utils import get_ip, get_ip_interface

from dask_em.errors import InputError
from dask_em.execution.kinds import ClusterSettings
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.attendance import Attendance
from dask_em.execution.launchers.certificates import SHOWN, lent
from dask_em.execution.launchers.closing import taken_down
from dask_em.execution.launchers.jobqueue import JobQueueCluster
from dask_em.execution.launchers.queues import QUEUES
from dask_em.execution.launchers.security import security_of
from dask_em.execution.launchers.settings import SLOW, environment_of_workers, require_memory
from dask_em.execution.launchers.submission import careful
from dask_em.execution.launchers.walltime import lifetime_of, seconds_of
from dask_em.storage.secrets import told_without

__all__ = ["Jobs"]

LOGS = "dask-em-jobs"  # the folder of jobs' logs: visible from everywhere where the working directory is
# A nanny whose worker was killed starts it again within seconds, or half a minute where Python loads slowly: a job that
# is thrown away before that has to wait in the queue again.
LOST = "30s"
# Looking costs a few messages within this process: as often as a lost job may be noticed.
QUICK = {"interval": "5s"}
NOT_OF_A_JOB = {*signature(JobQueueCluster.__init__).parameters} - {"config_name", "interface", "protocol", "security"}


class Jobs(Launcher):
    """One worker process a job, replaced when it is lost or its time is up."""

    patience = 3600.0  # queues are long

    def __init__(self, settings: ClusterSettings) -> None:
        super().__init__(settings)
        self._queue = QUEUES[settings.kind]
        self._security = security_of(settings)
        self._attendance: Attendance | None = None

    @contextmanager
    def launched(self) -> Iterator[Any]:
        settings = self.settings
        require_memory(settings.memory_limit)
        self._require_commands()
        options = _options(settings)
        self._job(options)  # what the library refuses, it refuses before anything runs
        folder = _made(Path(options["log_directory"]))
        patience = {"distributed.deploy.lost-worker-timeout": LOST}
        with (
            dask.config.set(patience),
            lent(self._security, folder) as security,
            taken_down(partial(self._cluster, options | {"security": security})) as cluster,
        ):
            self.security = cluster.security
            self._attendance = Attendance(cluster, self._queue, folder)
            most = settings.workers or 1
            least = settings.least_workers or most
            cluster.scale(jobs=most)
            cluster.adapt(minimum_jobs=least, maximum_jobs=most, **(QUICK if least == most else SLOW))
            with self._attendance.kept():
                # no cluster: a client waits for the jobs of one to be submitted, and Ctrl-C in that wait cancels it
                yield cluster.scheduler_address

    def check(self) -> None:
        if self._attendance:
            self._attendance.check()

    def progress(self) -> str:
        return self._attendance.progress() if self._attendance else ""

    def script(self) -> str:
        settings = self.settings
        security = SHOWN if settings.security == "tls" else self._security
        options = {**_options(settings), "security": security, "protocol": "tls://" if security else None}
        text: str = self._job(options).job_script()
        return text

    def _job(self, options: Mapping[str, Any]) -> Any:
        of_job = {name: value for name, value in options.items() if name not in NOT_OF_A_JOB}
        with _refused_by_library(self.settings):
            return self._queue.cluster.job_cls("SCHEDULER", name="dask-em-0", **of_job)

    def _cluster(self, options: Mapping[str, Any]) -> Any:
        with _refused_by_library(self.settings):
            if options.get("interface"):
                get_ip_interface(options["interface"])  # type: ignore[no-untyped-call]  # distributed's own
            return self._queue.cluster(job_cls=careful(self._queue.cluster.job_cls), **options)

    def _require_commands(self) -> None:
        command = self._queue.cluster.job_cls.submit_command
        if shutil.which(command) is None:
            raise InputError(
                f"cluster.kind {self.settings.kind} submits jobs with {command}, which is not on this machine's path; "
                "start the fit where jobs are submitted"
            )


def _options(settings: ClusterSettings) -> dict[str, Any]:
    """Return the keywords of dask-jobqueue's class: ours, then the site's (Dask's configuration), then the user's."""
    walltime = seconds_of(settings.walltime or "")
    lifetime, spread = lifetime_of(walltime)
    ours = {
        "job_name": "dask-em",
        "cores": settings.threads_per_worker,
        "memory": settings.memory_limit,
        "processes": 1,  # of two, one that is lost would not be replaced
        "interface": settings.interface,
        "log_directory": LOGS,
        "python": shlex.quote(sys.executable),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        "worker_extra_args": [
            *("--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{spread}s"),
            *("--dashboard-address", "127.0.0.1:0"),
            *("--preload", "dask_em"),  # where it is missing, the job's log tells; else workers die of their first task
        ],
        "job_script_prologue": [f"export {name}={value}" for name, value in environment_of_workers().items()],
        **QUEUES[settings.kind].terms(settings, walltime),
    }
    section = dask.config.get(f"jobqueue.{settings.kind}")
    site = {name.replace("-", "_"): value for name, value in section.items()}
    joining = {name: site[name] for name, value in ours.items() if site.get(name) and _adds(name, value)}
    told = _joined(_joined(ours, joining), settings.kwargs)
    scheduler = told["scheduler_options"]
    if not (told["interface"] or site.get("interface") or {"host", "interface"} & {*scheduler}):
        told["scheduler_options"] = {**scheduler, "host": get_ip()}  # type: ignore[no-untyped-call]  # distributed's own
    told["log_directory"] = _nameable(Path(told["log_directory"]).expanduser().absolute())
    return {name: value for name, value in told.items() if value is not None}


def _adds(name: str, value: Any) -> bool:
    """Say whether the site's word joins or replaces ours, where the user's settings say nothing."""
    return isinstance(value, list | dict) or name in {"log_directory", "python", "disk"}


def _joined(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, where lists and mappings of the same name are put together: of two same options the last counts."""
    joined = {**first, **then}
    for name in first.keys() & then.keys():
        one, other = first[name], then[name]
        if isinstance(one, list) and isinstance(other, list):
            joined[name] = [*one, *other]
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            joined[name] = {**one, **other}
    return joined


def _nameable(folder: Path) -> str:
    """Return the folder's name for the directives of a job script: each queue understands other quotes there."""
    if re.search(r"""[\s'"\\]""", str(folder)):
        raise InputError(
            f"the jobs' logs cannot be in {folder}: job scripts cannot name a folder with blanks or quotes; start the "
            "fit elsewhere, or name another folder that jobs see: cluster.kwargs.log_directory"
        )
    return str(folder)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder of the jobs' logs cannot be made: {folder} ({error.strerror}); start the fit in a folder that "
            "can be written to and that jobs see, or name one: cluster.kwargs.log_directory"
        ) from error
    return folder


@contextmanager
def _refused_by_library(settings: ClusterSettings) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"the {settings.kind} cluster could not be made: {told_without(error, settings.kwargs)}. "
            "Look at cluster.interface and cluster.kwargs"
        ) from error
