"""A fit that can be resumed: its states in a file after each pass, written whole or not at all.

Of a folder's checkpoints the newest valid one counts. One fit at a time owns a folder.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from dask_em._record import digest, record, static
from dask_em.driver.state import State, ended
from dask_em.driver.stopping import Stopping
from dask_em.errors import DataError
from dask_em.kernel import Holdout
from dask_em.statistics import Sample
from dask_em.storage.archive import read_record, write_record
from dask_em.storage.folder import Folder, folder_at

__all__ = ["Checkpoint", "Checkpoints"]

KEPT = 2  # the newest: one may be damaged
KIND = "checkpoint"
NAME, ENDING = "checkpoint-", ".npz"

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
    sample: Sample | None = None  # what the next parameters are found on, where they are

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
    asked = dataclasses.replace(state, stopping=stopping)
    return dataclasses.replace(asked, outcome=ended(asked))


class Checkpoints:
    """The checkpoints in a folder. Use :meth:`owned` around a fit that writes any.

    Parameters
    ----------
    folder : path, URL or Folder
        Made where it is missing. At a URL each checkpoint is one object, seen when it is whole.
    every : float
        Seconds between two checkpoints at least; 0 writes one after each pass.
    storage_options : mapping, optional
        For the file system of a URL.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Folder,
        every: float = 0.0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder_at(folder, storage_options) if isinstance(folder, str | os.PathLike) else folder
        self.every = every
        self.saved = False  # whether this object has written any
        self._require: Callable[[], None] | None = None  # raises where the folder is no longer owned; None: it is not
        self._written = float("-inf")
        self._waiting: Checkpoint | None = None
        self._newest: Checkpoint | None = None  # known while the folder is owned
        self._damaged: list[str] = []

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder; what waits to be written is written at the end, whatever ends it. May be nested.

        Raises
        ------
        InputError
            Another fit owns it, or it cannot be made.
        """
        with nullcontext() if self._require else self._locked():
            try:
                yield
            finally:
                self._write()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, or hold it back until enough time has passed; the last one is never held back."""
        self._waiting = checkpoint
        if not checkpoint.running or time.monotonic() - self._written >= self.every:
            self._write()

    def names(self) -> list[str]:
        """Return the names of the files that are there, the newest last."""
        return [name for name in self.folder.names() if name.startswith(NAME) and name.endswith(ENDING)]

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint; None where the folder has none.

        Raises
        ------
        DataError
            There are some, and all of them are damaged.
        """
        if self._newest is None:
            found = self._read()
            self._newest = found if self._require else None
            return found
        return self._newest

    def _read(self) -> Checkpoint | None:
        reason = ""
        for name in reversed(self.names()):
            try:
                header, value = read_record(self.folder, name)
                if header.get("kind") == KIND and header.get("digest") == digest(value):
                    return value  # type: ignore[no-any-return]  # of its kind
                what = "something else than was written, or what another version of dask_em wrote"
                reason = f"{self.folder.file(name)} holds {what}"
            except DataError as error:
                reason = str(error)
            self._damaged.append(name)
            logger.warning("a checkpoint is left out: %s", reason, extra={"event": "checkpoint left out"})
        if reason:
            raise DataError(f"no checkpoint in {self.folder} is whole, so that the fit must begin anew: {reason}")
        return None

    def _write(self) -> None:
        checkpoint = self._waiting
        if checkpoint is None:
            return
        if self._require:
            self._require()
        names = self.names()
        number = int(names[-1].removeprefix(NAME).removesuffix(ENDING)) + 1 if names else 0
        header = {"kind": KIND, "digest": digest(checkpoint)}
        write_record(self.folder, f"{NAME}{number:06d}{ENDING}", header, checkpoint)
        self._newest, self._waiting = checkpoint, None
        self._written, self.saved = time.monotonic(), True
        self._sweep()

    def _sweep(self) -> None:
        """Remove all but the newest, and what a write that was killed has left."""
        kept = [name for name in self.names() if name not in self._damaged][-KEPT:]
        for name in self.folder.names():
            if name not in kept and name.startswith((NAME, f".{NAME}")):
                self.folder.remove(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.folder.owned() as require:
            self._require = require
            try:
                yield
            finally:
                self._require, self._newest = None, None
