"""Where to compute: this process, or a cluster that is started or reached for the time of a fit."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
from distributed import Client
from distributed import performance_report as distributed_report
from distributed.client import ClosedClientError

from dask_em.errors import ClusterError, InputError, did_you_mean, to_install
from dask_em.execution import preferences
from dask_em.execution.kinds import KINDS, ClusterSettings, KindName, misfit
from dask_em.execution.launchers import Launcher, launcher_of
from dask_em.execution.values import misvalue
from dask_em.storage.secrets import without_assigned

__all__ = [
    "ClusterSettings",
    "Workforce",
    "bytes_to_keep",
    "cluster",
    "connect",
    "enlisted",
    "job_script",
    "performance_report",
    "workforce",
]

LOOK = 0.2  # seconds: how often it is looked for a worker
TOLD_FIRST, TELL = 5.0, 60.0  # seconds: when it is told that none is there, and how often
CLOSED = 5.0  # seconds that a client has to close that was not finished
ASKED = 1.0  # seconds that a scheduler has to say who works for it

logger = logging.getLogger("dask_em")


@contextmanager
def cluster(kind: KindName = "local", **settings: Any) -> Iterator[Client | None]:
    """Start or reach a cluster; fits inside the block compute there. At the end of the block it is taken down.

    Parameters
    ----------
    kind : {"local", "address", "slurm", "pbs", "mpi", "ssh", ...}
        One of the kinds that a config's ``cluster.kind`` knows.
    **settings
        The other keys of a config's section ``cluster``, such as ``workers=4, memory_limit="8GiB"``; ``class_`` for
        its ``class``.

    Yields
    ------
    distributed.Client or None
        The active client; None for the kinds "none" and "threads", where fits go to a client that is active already.

    Raises
    ------
    InputError
        A setting is unknown or does not fit the kind, a library is missing, nobody answers, or no worker came.
    """
    known = [each.name for each in fields(ClusterSettings)]
    for name in settings:
        if name not in known:
            raise InputError(f"cluster() knows no {name!r}.{did_you_mean(name, known)}")
    if kind not in tuple(KINDS):  # which may be anything, of Python
        raise InputError(f"there is no kind {kind!r} of clusters.{did_you_mean(str(kind), KINDS)}")
    with connect(ClusterSettings(kind, **settings)) as client, client.as_current() if client else nullcontext():
        yield client


@contextmanager
def connect(settings: ClusterSettings) -> Iterator[Client | None]:
    """Give a client of the cluster that the settings ask for, or None to compute in this process.

    Raises
    ------
    InputError
        The settings do not fit the kind, nobody answers, or the workers cannot be started.
    ClusterError
        No worker came in time.
    """
    _require_sense(settings)
    launcher = launcher_of(settings)
    with _wishes(settings):
        if launcher is None:
            yield None
            return
        with _late_cancels_untold(), launcher.launched() as where, _client(where, launcher) as client:
            if launcher.waits:
                _await_worker(client, launcher)
            yield client


def enlisted(settings: ClusterSettings) -> AbstractContextManager[None]:
    """Return a context in which this process drives: where ``mpirun`` started several, the others serve it and end.

    Raises
    ------
    InputError
        A library is missing.
    """
    launcher = launcher_of(settings)
    return nullcontext() if launcher is None else launcher.enlisted()


def _require_sense(settings: ClusterSettings) -> None:
    values = {each.name.rstrip("_"): getattr(settings, each.name) for each in fields(settings)}
    given = {name: value for name, value in values.items() if value is not None and value != {}}
    wrong = misvalue(settings) or misfit(settings.kind, given)
    if wrong:
        raise InputError(wrong)


@contextmanager
def _late_cancels_untold() -> Iterator[None]:
    """Keep a traceback of distributed's own from people who press Ctrl-C.

    ``distributed.utils.sync`` cancels a future that it has not made yet, where it is interrupted in its first moment;
    the loop logs the NameError.
    """
    loop, others = logging.getLogger("tornado.application"), partial(_is_told)  # one of its own for each cluster
    loop.addFilter(others)
    try:
        yield
    finally:
        loop.removeFilter(others)


def _is_told(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NameError) and error.name == "future")


def _client(where: Any, launcher: Launcher) -> Any:
    """Return a client; one that Ctrl-C leaves half made is closed now: Python's end would wait for it for minutes."""
    client = Client.__new__(Client)
    try:
        client.__init__(  # type: ignore[misc]  # distributed's own
            where, timeout=launcher.timeout, security=launcher.security, set_as_default=False
        )
    except BaseException:
        with suppress(Exception):
            client.close(timeout=CLOSED)  # type: ignore[no-untyped-call]
        client.status = "closed"
        raise
    return client


def _await_worker(client: Any, launcher: Launcher) -> None:
    """Return when the first worker is there: the others join while it computes."""
    began = time.monotonic()
    tell = began + TOLD_FIRST
    while not client.scheduler_info(n_workers=1)["workers"]:
        launcher.check()
        now = time.monotonic()
        if now - began >= launcher.timeout:
            said = launcher.progress()
            raise ClusterError(
                f"no worker of cluster.kind {launcher.settings.kind} came within {launcher.timeout:g} seconds"
                f"{f': {said}' if said else ''}. Mend that, or wait longer (cluster.timeout)"
            )
        if now >= tell:
            tell = now + TELL
            logger.warning("waiting for a first worker. %s", launcher.progress(), extra={"event": "waiting"})
        time.sleep(LOOK)


@dataclass(frozen=True)
class Workforce:
    """Who computes on a cluster."""

    workers: int  # processes
    threads: int  # of all of them


def workforce(client: Any) -> Workforce | None:
    """Return who computes for a client now; None where its scheduler does not say so at once."""
    try:
        return Workforce(*client.run_on_scheduler(_workers_and_threads, callback_timeout=ASKED))
    except (OSError, ClosedClientError):
        return None  # who waits for a pass finds out whether the scheduler is lost


def _workers_and_threads(dask_scheduler: Any) -> tuple[int, int]:
    """Return how many there are. This runs on the scheduler."""
    return len(dask_scheduler.workers), dask_scheduler.total_nthreads


def job_script(settings: ClusterSettings) -> str:
    """Return the job script that the settings would submit, without secrets, starting nothing.

    Raises
    ------
    InputError
        The settings do not fit the kind, or it submits no jobs.
    """
    _require_sense(settings)
    launcher = launcher_of(settings)
    if launcher is None:
        raise InputError(f"cluster.kind {settings.kind} starts nothing; --job-script is for job queues, such as slurm")
    return without_assigned(launcher.script())


def bytes_to_keep(settings: ClusterSettings) -> float | None:
    """Return how many bytes of rows may stay in memory between passes; None: as many as half of what is free."""
    with _wishes(settings):
        return preferences.resident()


def _wishes(settings: ClusterSettings) -> Any:
    """Return a context in which Dask's own configuration says what the settings do."""
    wishes = {preferences.RESIDENT: settings.resident, preferences.PATIENCE: settings.patience}
    return dask.config.set({key: value for key, value in wishes.items() if value is not None})


@contextmanager
def performance_report(client: Client, page: Path) -> Iterator[None]:
    """Write the cluster's account of what it did meanwhile to an HTML page.

    Raises
    ------
    InputError
        What draws the page is not installed.
    """
    if find_spec("bokeh") is None:
        raise InputError(f"the performance report is drawn by bokeh, which is not installed: {to_install('bokeh')}")
    with client.as_current(), distributed_report(filename=str(page)):  # type: ignore[no-untyped-call]  # as above
        yield
