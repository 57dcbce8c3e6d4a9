"""Which jobs of a cluster have no worker, and why: refused, waiting, or over before their worker came.

dask-jobqueue replaces a job whose worker came and was lost. One that was refused, cancelled while it waited, or that
ended before its worker came is missing for ever: here it is noticed, and given up, so that another is submitted.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.ioloop import PeriodicCallback

from dask_em.errors import ClusterError, InputError
from dask_em.execution.launchers.queues import Queue, number_of

__all__ = ["Attendance"]

# Seconds between two looks, and a job is given up when it is missing in both: longer than a lost worker's job is left
# to dask-jobqueue, and no more often than administrators like to be asked.
LOOK = 60.0
NAMED, LINES, LENGTH = 3, 3, 600  # jobs in a sentence; lines of a job's log, and their characters

logger = logging.getLogger("dask_em")


class Attendance:
    """Looks after the jobs of a ``JobQueueCluster`` of careful jobs, whose logs are in ``folder``."""

    def __init__(self, cluster: Any, queue: Queue, folder: Path) -> None:
        self._cluster, self._queue, self._folder = cluster, queue, folder
        self._missed: frozenset[Any] = frozenset()  # jobs, at the last look
        self._over: tuple[Any, ...] = ()  # jobs that ended before their worker came

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look from time to time, in the cluster's own event loop."""
        looking = PeriodicCallback(self._look, LOOK * 1000)
        self._cluster.loop.add_callback(looking.start)
        try:
            yield
        finally:
            self._cluster.loop.add_callback(looking.stop)

    def check(self) -> None:
        """Raise where none of the first jobs' workers can come any more.

        Raises
        ------
        InputError
            The queue has refused all jobs.
        ClusterError
            All jobs are over.
        """
        jobs = self._jobs()
        if jobs and all(job.refused for job in jobs):
            raise InputError(f"the queue takes no job: {jobs[0].refused}")
        if self._over and len(self._over) >= len(self._cluster.worker_spec):
            raise ClusterError(f"every job was over before its worker came. {self._log(self._over[-1])}")

    def progress(self) -> str:
        """Return where the jobs without workers are, as the queue has it."""
        listed = self._queue.listed()
        if listed is None:
            return f"the queue does not answer to {self._queue.listing[0]}"
        jobs = {number_of(job.job_id): job for job in self._jobs() if job.job_id}
        queued = _by_reason([listed[number] for number in jobs if number in listed])
        over = _some([number for number in jobs if number not in listed])
        told = [
            f"jobs in the queue: {queued or 'none'}",
            *([f"jobs that are over: {over}"] if over else []),
            *[said for job in jobs.values() if (said := self._log(job))][:1],
        ]
        return ". ".join(told)

    def _jobs(self) -> list[Any]:
        return list(self._cluster.workers.values())

    async def _look(self) -> None:
        cluster = self._cluster
        missing = self._missing()
        if missing:
            listed = await asyncio.get_running_loop().run_in_executor(None, self._queue.listed)
            still = self._missing()
            for name in still.keys() & missing.keys():
                job = still[name]
                waits = listed is None or number_of(job.job_id or "") in listed
                if job in self._missed and job is missing[name] and (job.refused or not waits):
                    self._give_up(job)
                    del cluster.workers[name]  # adapting submits another
                    await job.close()
        self._missed = frozenset(self._missing().values())

    def _missing(self) -> dict[str, Any]:
        """Return the jobs whose workers are not there."""
        there = {worker.name for worker in self._cluster.scheduler.workers.values()}
        return {name: job for name, job in self._cluster.workers.items() if name not in there}

    def _give_up(self, job: Any) -> None:
        if job.refused:
            logger.warning("a job was refused, and is asked for again: %s", job.refused, extra={"event": "job refused"})
            return
        self._over = (*self._over, job)
        told = {"event": "job lost"}
        logger.warning("job %s is over without its worker. %s", job.job_id, self._log(job), extra=told)

    def _log(self, job: Any) -> str:
        """Return the end of a job's own log, where it has one that can be seen from here."""
        number = number_of(job.job_id or "")
        names = re.compile(rf"(?<!\d){number}(?!\d)")
        logs = [path for path in self._folder.glob("*") if number and names.search(path.name) and path.stat().st_size]
        if not logs:
            return ""
        newest = max(logs, key=lambda path: path.stat().st_mtime)
        lines = [line.strip() for line in newest.read_text(errors="replace").splitlines()]
        end = " | ".join([line for line in lines if line][-LINES:])[-LENGTH:]
        return f"its log {newest} ends with: {end}"


def _by_reason(lines: list[str]) -> str:
    """Return lines that begin with a job's number, those that say the same together."""
    jobs: dict[str, list[str]] = {}
    for line in lines:
        number, _, words = line.partition(" ")
        jobs.setdefault(words, []).append(number)
    return _some([f"{_some(numbers, ', ')} {words}".strip() for words, numbers in jobs.items()])


def _some(told: list[str], between: str = "; ") -> str:
    return between.join([*told[:NAMED], *([f"and {len(told) - NAMED} more"] if len(told) > NAMED else [])])
