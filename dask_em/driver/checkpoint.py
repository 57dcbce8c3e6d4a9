"""A fit that can be resumed: its states in a file after each pass, written whole or not at all.

Of a folder's checkpoints the newest valid one counts. One fit at a time owns a folder.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from dask_em._record import digest, record, static
from dask_em.driver.state import State, ended
from dask_em.driver.stopping import Stopping
from dask_em.errors import DataError, InputError
from dask_em.kernel import Holdout
from dask_em.storage import load_record, save_record

__all__ = ["Checkpoint", "Checkpoints"]

KEPT = 2  # the newest: one may be damaged
KIND = "checkpoint"
NAME, LOCK = "checkpoint-", "lock"

logger = logging.getLogger("dask_em")


@record
class Checkpoint:
    """A fit between two passes, and what it must find again to go on with the same bits."""

    states: tuple[State, ...]
    weight: float  # total weight of the rows
    settings: str = static()  # of the fit, as JSON
    plan: str = static()  # the plan's digest
    data: str = static()  # a digest of some rows
    rows: int = static()
    environment: str = static()  # the driver's arithmetic
    holdout: Holdout | None = None  # which rows no model is fitted to

    @property
    def passes(self) -> int:
        """Passes over the data so far."""
        return max(len(state.history) for state in self.states)

    @property
    def running(self) -> bool:
        """Whether a state wants another pass."""
        return any(state.running for state in self.states)

    def judged_by(self, stopping: Stopping) -> Checkpoint:
        """Return the checkpoint as another stopping rule judges it: who had ended may go on, who went on may end."""
        return dataclasses.replace(self, states=tuple(_judged(state, stopping) for state in self.states))


def _judged(state: State, stopping: Stopping) -> State:
    if stopping == state.stopping or state.dropped:
        return state
    jumped = bool(state.history) and state.history[-1].jump
    outcome = None if jumped else ended(stopping, state.history, state.standing, state.reseeding)
    return dataclasses.replace(state, stopping=stopping, outcome=outcome)


class Checkpoints:
    """The checkpoints in a folder. Use :meth:`owned` around a fit that writes any.

    Parameters
    ----------
    folder : path
        Local; made where it is missing.
    every : float
        Seconds between two checkpoints at least; 0 writes one after each pass.
    """

    def __init__(self, folder: str | os.PathLike[str], every: float = 0.0) -> None:
        self.folder = Path(folder).expanduser()
        self.every = every
        self.saved = False  # whether this object has written any
        self._owned = False
        self._written = float("-inf")
        self._waiting: Checkpoint | None = None
        self._newest: Checkpoint | None = None  # known while the folder is owned
        self._damaged: list[Path] = []

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder; what waits to be written is written at the end, whatever ends it. May be nested.

        Raises
        ------
        InputError
            Another fit owns it, or it cannot be made.
        """
        with nullcontext() if self._owned else self._locked():
            try:
                yield
            finally:
                self._write()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, or hold it back until enough time has passed; the last one is never held back."""
        self._waiting = checkpoint
        if not checkpoint.running or time.monotonic() - self._written >= self.every:
            self._write()

    def paths(self) -> list[Path]:
        """Return the files that are there, the newest last."""
        return sorted(self.folder.glob(f"{NAME}*.npz"))

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint; None where the folder has none.

        Raises
        ------
        DataError
            There are some, and all of them are damaged.
        """
        if self._newest is None:
            found = self._read()
            self._newest = found if self._owned else None
            return found
        return self._newest

    def _read(self) -> Checkpoint | None:
        reason = ""
        for path in reversed(self.paths()):
            try:
                header, value = load_record(path)
                if header.get("kind") == KIND and header.get("digest") == digest(value):
                    return value  # type: ignore[no-any-return]  # of its kind
                reason = f"{path} holds something else than was written"
            except DataError as error:
                reason = str(error)
            self._damaged.append(path)
            logger.warning("a checkpoint is left out: %s", reason, extra={"event": "checkpoint left out"})
        if reason:
            raise DataError(f"no checkpoint in {self.folder} is whole, so that the fit must begin anew: {reason}")
        return None

    def _write(self) -> None:
        checkpoint = self._waiting
        if checkpoint is None:
            return
        paths = self.paths()
        number = int(paths[-1].stem.removeprefix(NAME)) + 1 if paths else 0
        header = {"kind": KIND, "digest": digest(checkpoint)}
        save_record(self.folder / f"{NAME}{number:06d}.npz", header, checkpoint)
        self._newest, self._waiting = checkpoint, None
        self._written, self.saved = time.monotonic(), True
        self._sweep()

    def _sweep(self) -> None:
        """Remove all but the newest, and what a write that was killed has left."""
        kept = [path for path in self.paths() if path not in self._damaged][-KEPT:]
        for path in self.folder.iterdir():
            if path not in kept and path.name.startswith((NAME, f".{NAME}")):
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock, which the system gives back whatever becomes of this process."""
        with self._lock() as file:
            self._owned = True
            try:
                yield
            finally:
                self._owned, self._newest = False, None
                file.truncate(0)

    def _lock(self) -> IO[str]:
        path = self.folder / LOCK
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {error.strerror}; name another folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                raise BlockingIOError  # moved away meanwhile, by a fit that begins
        except OSError as error:
            file.seek(0)
            owner = file.read() or "which has just begun"
            file.close()
            if not isinstance(error, BlockingIOError):
                raise InputError(f"{self.folder} cannot be locked: {error.strerror}; name another folder") from error
            raise InputError(
                f"another fit is writing to {self.folder} ({owner}); wait for its end, or name another folder"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        return file
