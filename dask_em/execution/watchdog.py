"""Waiting for what a cluster computes, and noticing that nothing moves any more, or that nobody is there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from distributed import Client, Future
from distributed.client import ClosedClientError

__all__ = ["ConnectionLostError", "StandstillError", "Watch", "answers", "noticing_loss"]

LOOKS = 4  # within the patience
NAMED = 3  # workers, in a sentence
ASKED = 1.0  # seconds that a scheduler which may be gone has for each answer
_OPEN = frozenset({"running", "connecting"})

logger = logging.getLogger("dask_em")


class StandstillError(Exception):
    """Nothing of a pass moved for too long, with tasks on ``workers``; told to people as ClusterError."""

    def __init__(self, reason: str, workers: frozenset[str] = frozenset()) -> None:
        super().__init__(reason)
        self.workers = workers


class ConnectionLostError(Exception):
    """The scheduler is out of reach; told to people as ClusterError."""


class Watch:
    """One attempt at a pass: waits for its values, and looks at the scheduler a few times in ``patience`` seconds.

    A task that finishes is what counts as movement, and time counts while workers have tasks that could finish.
    Where no worker has any, others may come: that is waited for without end, unless the tasks may only run on
    ``chosen`` workers. ``run`` is a part of the name of every task of the reducer, which makes one pass at a time.
    """

    def __init__(self, client: Client, run: str, patience: float, chosen: bool = False) -> None:
        self._client: Any = client  # its methods have no types
        self._run = run
        self._patience = patience
        self._chosen = chosen
        self._computed = -1.0  # seconds in tasks that have finished
        self._moved = self._heard = self._told = time.monotonic()

    def result(self, future: Future[Any]) -> Any:
        """Return a task's value, or raise what the task raised. Whatever is raised, the caller releases the future.

        Raises
        ------
        StandstillError
            Workers have tasks, and none has finished for ``patience`` seconds.
        ConnectionLostError
            The scheduler is gone, or has not answered for ``patience`` seconds.
        """
        coming = asyncio.run_coroutine_threadsafe(
            self._client.gather(future, asynchronous=True), self._client.loop.asyncio_loop
        )
        while not wait([coming], self._patience / LOOKS).done:
            self._look()
        if future.status == "error":
            return coming.result()  # raises the task's own error, which may be an OSError too
        with noticing_loss():
            return coming.result()

    def _look(self) -> None:
        if self._client.status not in _OPEN:
            raise ConnectionLostError(f"the client is {self._client.status}")
        try:
            computed, working, waiting = self._client.run_on_scheduler(
                _tasks, run=self._run, callback_timeout=self._patience / LOOKS
            )
        except (OSError, ClosedClientError) as error:
            if time.monotonic() - self._heard >= self._patience:
                raise ConnectionLostError(f"it has not answered for {self._patience:g} seconds") from error
            return
        now = self._heard = time.monotonic()
        idle = not working and not (waiting and self._chosen)
        if computed != self._computed or idle:
            self._computed, self._moved = computed, now
        elif now - self._moved >= self._patience:
            where = ", ".join([*sorted(working)[:NAMED], *["others"][: len(working) > NAMED]]) or "any worker"
            raise StandstillError(f"nothing moved for {self._patience:g} seconds on {where}", working)
        if waiting and not working and now - self._told >= self._patience:
            self._told = now
            logger.warning("the pass waits for workers: %d tasks, and none runs", waiting, extra={"event": "waiting"})


def _tasks(run: str, dask_scheduler: Any) -> tuple[float, frozenset[str], int]:
    """Return the seconds spent in a run's tasks that finished, the workers that have some, and how many have none.

    This runs on the scheduler.
    """
    groups = [group for name, group in dask_scheduler.task_groups.items() if run in name]
    working = {
        address
        for address, worker in dask_scheduler.workers.items()
        if any(run in task.group.name for task in worker.processing)
    }
    waiting = sum(group.states.get(state, 0) for group in groups for state in ("queued", "no-worker"))
    return sum(group.duration for group in groups), frozenset(working), waiting


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Tell the errors of a client that has lost its scheduler from all others.

    Raises
    ------
    ConnectionLostError
        In their place.
    """
    try:
        yield
    except (OSError, ClosedClientError) as error:
        raise ConnectionLostError(" ".join(str(error).split()) or type(error).__name__) from error


def answers(client: Any, seconds: float) -> bool:
    """Say whether the scheduler answers, waiting while the client tries to reach it again, ``seconds`` at most."""
    end = time.monotonic() + seconds
    while client.status in _OPEN and time.monotonic() < end:
        try:
            if client.status == "running":
                client.run_on_scheduler(_tasks, run="", callback_timeout=ASKED)
                return True
        except (OSError, ClosedClientError):
            pass  # the client notices soon that it has lost it
        time.sleep(0.05)
    return False
