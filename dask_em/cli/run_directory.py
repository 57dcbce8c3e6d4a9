"""The folder that a fit leaves behind: the config, the model, the history, its picture and the log.

A finished run is never overwritten: a new one in the same place moves it aside, to the first free of NAME.1, NAME.2 ..
What an unfinished run left is replaced. A folder with anything else in it is refused.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dask_em.cli.guard import FaultError
from dask_em.errors import ConfigError, InputError

__all__ = ["RunDirectory"]

CONFIG, MODEL, HISTORY, PICTURE, LOG = "config.yaml", "model.npz", "history.csv", "log_likelihood.png", "fit.log"
OURS = frozenset({CONFIG, MODEL, HISTORY, PICTURE, LOG})
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
    def log(self) -> Path:
        """What was said, and the traceback of a fault."""
        return self.path / LOG

    @staticmethod
    def claim(directory: str) -> tuple[RunDirectory, Path | None]:
        """Make the folder ready for a run; return it, and where a finished run went that was there.

        Raises
        ------
        ConfigError
            The folder cannot be made, or holds what is not ours.
        """
        run = RunDirectory(Path(directory).expanduser())
        try:
            aside = run._make_room()
            run.path.mkdir(parents=True, exist_ok=True)
            run.log.touch()
        except OSError as error:
            raise ConfigError(
                f"output.directory {run.path} cannot be written: {error.strerror}; name another folder"
            ) from error
        return run, aside

    def _make_room(self) -> Path | None:
        if not self.path.is_dir():
            return None
        if self.model.exists() and self.config.exists():
            places = (self.path.with_name(f"{self.path.name}.{number}") for number in count(1))
            return self.path.rename(next(place for place in places if not place.exists()))
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in OURS)
        if foreign:
            raise ConfigError(
                f"output.directory {self.path} holds {foreign[0]}, which is no part of a run; name another folder"
            )
        for name in OURS:
            (self.path / name).unlink(missing_ok=True)
        return None

    @contextmanager
    def logged(self) -> Iterator[logging.Logger]:
        """Write what is logged and warned of to the run's log, and the traceback of a fault.

        Raises
        ------
        FaultError
            Something failed that is not the user's input.
        """
        handlers = {name: logging.FileHandler(self.log, encoding="utf-8") for name in LOGGERS}
        for name, handler in handlers.items():  # one each: a LocalCluster silences the one on distributed's logger
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logging.getLogger(name).addHandler(handler)
        logger = logging.getLogger("dask_em")
        level = logger.level
        logger.setLevel(logging.INFO)
        logging.captureWarnings(True)
        try:
            yield logger
        except InputError as error:
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
