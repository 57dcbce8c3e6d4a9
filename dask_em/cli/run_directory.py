"""The folder that a fit leaves behind: config, model, history, its picture, checkpoints and the log.

A run that is finished, or could be resumed, is never overwritten: a new one in the same place moves it aside, to the
first free of NAME.1, NAME.2 .. A folder with anything else in it is refused, and so is one that a fit is writing to.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from dask_em.cli.guard import FaultError
from dask_em.driver import Checkpoints
from dask_em.errors import ClusterError, ConfigError, InputError

__all__ = ["RunDirectory"]

CONFIG, MODEL, HISTORY, PICTURE, LOG = "config.yaml", "model.npz", "history.csv", "log_likelihood.png", "fit.log"
CHECKPOINTS, PERFORMANCE = "checkpoints", "performance.html"
SELECTION, SELECTION_PICTURE = "selection.csv", "selection.png"
OURS = frozenset({CONFIG, MODEL, HISTORY, PICTURE, LOG, CHECKPOINTS, PERFORMANCE, SELECTION, SELECTION_PICTURE})
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOGGERS = ("dask_em", "distributed", "py.warnings")  # distributed keeps its messages to itself unless asked


@dataclass(frozen=True)
class RunDirectory:
    """Where each file of a run is."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config, without secrets."""
        return self.path / CONFIG

    @property
    def model(self) -> Path:
        """The fitted model."""
        return self.path / MODEL

    @property
    def history(self) -> Path:
        """A line for each pass, as a table."""
        return self.path / HISTORY

    @property
    def picture(self) -> Path:
        """The log-likelihood by pass."""
        return self.path / PICTURE

    @property
    def selection(self) -> Path:
        """The models that one was chosen from, as a table."""
        return self.path / SELECTION

    @property
    def selection_picture(self) -> Path:
        """What they were compared by."""
        return self.path / SELECTION_PICTURE

    @property
    def log(self) -> Path:
        """What was said, and the traceback of a fault."""
        return self.path / LOG

    @property
    def checkpoints(self) -> Path:
        """The newest checkpoints, to resume from."""
        return self.path / CHECKPOINTS

    @property
    def performance(self) -> Path:
        """The cluster's own account of the fit, where one was asked for."""
        return self.path / PERFORMANCE

    @property
    def finished(self) -> bool:
        """Whether the fit has come to its end: its model is no older than its checkpoints."""
        newest = Checkpoints(self.checkpoints).paths()[-1:]
        return self.model.exists() and all(path.stat().st_mtime <= self.model.stat().st_mtime for path in newest)

    @contextmanager
    def claimed(self, checkpoints: Checkpoints, resume: bool) -> Iterator[RunDirectory | None]:
        """Own the folder for the time of a fit; give the earlier run that was there, in the place where it is now.

        Raises
        ------
        ConfigError, InputError
            The folder cannot be made, holds what is not ours, has nothing to ``resume``, or a fit is writing to it.
        """
        if resume and not checkpoints.paths():
            raise ConfigError(f"there is nothing to resume in {self.path}: it has no checkpoint; fit without --resume")
        with ExitStack() as stack:
            try:
                aside = None if resume else self._make_room()
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(checkpoints.owned())
                self._sweep(resume)
                self.log.touch()
            except OSError as error:
                raise ConfigError(
                    f"output.directory {self.path} cannot be written: {error.strerror}; name another folder"
                ) from error
            yield aside

    def _make_room(self) -> RunDirectory | None:
        """Move an earlier run aside; refuse what is no run."""
        if not self.path.is_dir():
            return None
        earlier = Checkpoints(self.checkpoints)
        if earlier.paths() or (self.config.exists() and self.model.exists()):
            with earlier.owned():
                places = (self.path.with_name(f"{self.path.name}.{number}") for number in count(1))
                return RunDirectory(self.path.rename(next(place for place in places if not place.exists())))
        ours = {*OURS, *self._temporary()}
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in ours)
        if foreign:
            raise ConfigError(
                f"output.directory {self.path} holds {foreign[0]}, which is no part of a run; name another folder"
            )
        return None

    def _sweep(self, resume: bool) -> None:
        """Remove what a fit that was killed has left, and what does not belong to the one that begins."""
        for name in (*self._temporary(), *(() if resume else OURS - {CHECKPOINTS})):
            (self.path / name).unlink(missing_ok=True)

    def _temporary(self) -> list[str]:
        """Return the names of models that were being written."""
        return [path.name for path in self.path.glob(f".{MODEL}.*")]

    @contextmanager
    def logged(self, form: str = "text") -> Iterator[logging.Logger]:
        """Write what is logged and warned of to the run's log (as text or json), and the traceback of a fault.

        Raises
        ------
        FaultError
            Something failed that is not the user's input.
        """
        handlers = {name: logging.FileHandler(self.log, encoding="utf-8") for name in LOGGERS}
        for name, handler in handlers.items():  # one each: a LocalCluster silences the one on distributed's logger
            handler.setFormatter(_Json() if form == "json" else logging.Formatter(TEXT))
            logging.getLogger(name).addHandler(handler)
        logger = logging.getLogger("dask_em")
        level = logger.level
        logger.setLevel(logging.INFO)
        logging.captureWarnings(True)
        try:
            yield logger
        except (ClusterError, InputError) as error:
            logger.error("%s", error)  # noqa: TRY400  # the user's input needs no traceback
            raise
        except Exception as error:
            logger.error("a fault of dask-em's:\n%s", "".join(traceback.format_exception(error)))  # noqa: TRY400
            raise FaultError(self.log) from error
        finally:
            logging.captureWarnings(False)
            logger.setLevel(level)
            for name, handler in handlers.items():
                logging.getLogger(name).removeHandler(handler)
                handler.close()


class _Json(logging.Formatter):
    """A JSON object a line: time, level, logger, message, and what the event says of itself."""

    _KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": time, "level": record.levelname, "logger": record.name}
        own = {key: value for key, value in record.__dict__.items() if key not in self._KNOWN}
        return json.dumps({**told, "message": record.getMessage(), **own}, default=str, ensure_ascii=False)
