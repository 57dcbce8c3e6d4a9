"""The folder that a fit leaves behind, here or at a URL: config, model, history, its picture, checkpoints and the log.

A run that is finished, or could be resumed, is never overwritten: a new one in the same place moves it aside, to the
first free of NAME.1, NAME.2 .. A folder with anything else in it is refused, and so is one that a fit is writing to.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dask_em.cli.guard import FaultError
from dask_em.config import Output
from dask_em.driver import Checkpoints
from dask_em.errors import ClusterError, ConfigError, InputError
from dask_em.storage.folder import Desk, Folder, folder_at

__all__ = ["CONFIG", "MODEL", "RunDirectory", "finished", "run_directory"]

CONFIG, MODEL, HISTORY, PICTURE, LOG = "config.yaml", "model.npz", "history.csv", "log_likelihood.png", "fit.log"
CHECKPOINTS, PERFORMANCE = "checkpoints", "performance.html"
SELECTION, SELECTION_PICTURE = "selection.csv", "selection.png"
OURS = frozenset({CONFIG, MODEL, HISTORY, PICTURE, LOG, CHECKPOINTS, PERFORMANCE, SELECTION, SELECTION_PICTURE})
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOGGERS = ("dask_em", "distributed", "py.warnings")  # distributed keeps its messages to itself unless asked


@contextmanager
def run_directory(output: Output) -> Iterator[RunDirectory]:
    """Give the run directory that a config names, and the place where its files are written meanwhile."""
    folder = folder_at(output.directory, output.storage_options)
    with folder.desk() as desk:
        yield RunDirectory(folder, desk)


@dataclass(frozen=True)
class RunDirectory:
    """Where each file of a run is written. At a URL each is seen there once it is published, whole."""

    folder: Folder
    desk: Desk

    @property
    def config(self) -> Path:
        """The resolved config, without secrets."""
        return self.desk.path / CONFIG

    @property
    def model(self) -> Path:
        """The fitted model."""
        return self.desk.path / MODEL

    @property
    def history(self) -> Path:
        """A line for each pass, as a table."""
        return self.desk.path / HISTORY

    @property
    def picture(self) -> Path:
        """The log-likelihood by pass."""
        return self.desk.path / PICTURE

    @property
    def selection(self) -> Path:
        """The models that one was chosen from, as a table."""
        return self.desk.path / SELECTION

    @property
    def selection_picture(self) -> Path:
        """What they were compared by."""
        return self.desk.path / SELECTION_PICTURE

    @property
    def log(self) -> Path:
        """What was said, and the traceback of a fault."""
        return self.desk.path / LOG

    @property
    def performance(self) -> Path:
        """The cluster's own account of the fit, where one was asked for."""
        return self.desk.path / PERFORMANCE

    @property
    def checkpoints(self) -> Folder:
        """The newest checkpoints, to resume from."""
        return self.folder.child(CHECKPOINTS)

    def shown(self, path: Path) -> str:
        """Return what people call one of these files."""
        return self.folder.file(path.name)

    @contextmanager
    def claimed(self, checkpoints: Checkpoints, resume: bool) -> Iterator[Folder | None]:
        """Own the folder for the time of a fit; give the earlier run that was there, in the place where it is now.

        Raises
        ------
        ConfigError, InputError
            The folder cannot be made, holds what is not ours, has nothing to ``resume``, or a fit is writing to it.
        """
        if resume and not checkpoints.names():
            raise ConfigError(
                f"there is nothing to resume in {self.folder}: it has no checkpoint; fit without --resume"
            )
        with ExitStack() as stack:
            try:
                aside = None if resume else _make_room(self.folder)
                self.desk.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(checkpoints.owned())
                _sweep(self.folder, resume)
                self._carry(resume)
                self.log.touch()
            except OSError as error:
                raise ConfigError(
                    f"output.directory {self.folder} cannot be written: {error.strerror}; name another folder"
                ) from error
            try:
                yield aside
            except BaseException:
                with suppress(InputError):  # the fit's own end matters more
                    self.desk.publish()
                raise
            self.desk.publish()

    def _carry(self, resume: bool) -> None:
        """Fetch the log that a resumed fit goes on writing, where it is elsewhere."""
        if resume and not self.log.exists():
            with suppress(FileNotFoundError), self.folder.reading(LOG) as log:
                self.log.write_bytes(log.read())

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
            raise FaultError(self.shown(self.log)) from error
        finally:
            logging.captureWarnings(False)
            logger.setLevel(level)
            for name, handler in handlers.items():
                logging.getLogger(name).removeHandler(handler)
                handler.close()


def finished(run: Folder) -> bool:
    """Say whether a run's fit has come to its end: its model is no older than its checkpoints."""
    checkpoints, model = run.child(CHECKPOINTS), run.modified(MODEL)
    times = [checkpoints.modified(name) for name in Checkpoints(checkpoints).names()[-1:]]
    return model is not None and all(time is None or time <= model for time in times)


def _make_room(folder: Folder) -> Folder | None:
    """Move an earlier run aside; refuse what is no run."""
    there = folder.names()
    earlier = Checkpoints(folder.child(CHECKPOINTS))
    if earlier.names() or {CONFIG, MODEL} <= set(there):
        with earlier.owned():
            return folder.aside()
    foreign = [name for name in there if name not in OURS and not _temporary(name)]
    if foreign:
        raise ConfigError(
            f"output.directory {folder} holds {foreign[0]}, which is no part of a run; name another folder"
        )
    return None


def _sweep(folder: Folder, resume: bool) -> None:
    """Remove what a fit that was killed has left, and what does not belong to the one that begins."""
    for name in folder.names():
        if _temporary(name) or (not resume and name in OURS - {CHECKPOINTS}):
            folder.remove(name)


def _temporary(name: str) -> bool:
    """Say whether this is a model that was being written."""
    return name.startswith(f".{MODEL}.")


class _Json(logging.Formatter):
    """A JSON object a line: time, level, logger, message, and what the event says of itself."""

    _KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": time, "level": record.levelname, "logger": record.name}
        own = {key: value for key, value in record.__dict__.items() if key not in self._KNOWN}
        return json.dumps({**told, "message": record.getMessage(), **own}, default=str, ensure_ascii=False)
