"""A job of dask-jobqueue's whose refusal is kept in words."""

from __future__ import annotations

from typing import Any

from distributed.core import Status

__all__ = ["careful"]


def careful(job_class: Any) -> Any:
    """Return a job that, where it is refused, says so in ``refused`` and counts as one that has no worker yet.

    dask-jobqueue raises in a task that nobody waits for, which is logged with a traceback; closing the cluster then
    fails, since such a job's status is not what distributed expects.
    """

    class CarefulJob(job_class):  # type: ignore[misc]  # dask-jobqueue has no types
        refused = ""  # in the queue's own words

        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                self.refused = _words(error)
                self.status = Status.running

        async def close(self) -> None:
            self.status = Status.closing  # a cluster that is closed meanwhile expects it
            await super().close()
            self.status = Status.closed

        @staticmethod
        async def _call(command: Any, **options: Any) -> Any:
            # of its own session: a terminal's Ctrl-C would end sbatch before it has told a job's number
            return await job_class._call(command, start_new_session=True, **options)  # noqa: SLF001  # as above

    return CarefulJob


def _words(error: Exception) -> str:
    """Return what a command printed, of dask-jobqueue's account of its failure."""
    _, _, printed = str(error).partition("stdout:\n")
    lines = [line.strip() for line in (printed or str(error)).replace("stderr:\n", "").splitlines()]
    return "; ".join(line for line in lines if line)
