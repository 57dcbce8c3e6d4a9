"""What becomes of errors: a sentence and an exit status."""

from __future__ import annotations

import functools
import logging
import signal
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import typer

from dask_em.config import kind_named
from dask_em.errors import ClusterError, InputError
from dask_em.execution.ranks import speaks
from dask_em.storage.secrets import without_credentials

__all__ = [
    "CLUSTER_LOST",
    "DONE",
    "FAULT",
    "STOPPED",
    "WRONG_INPUT",
    "FaultError",
    "guarded",
    "say",
    "stopped_by",
    "telling",
    "told_once",
]

DONE, FAULT, WRONG_INPUT, CLUSTER_LOST, STOPPED = 0, 1, 2, 3, 130
BY_SIGNAL = 128  # and the signal's number: 143 by SIGTERM, as shells have it


class FaultError(Exception):
    """A fault of ours whose traceback has been written to ``log``."""

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log


class _Terminated(KeyboardInterrupt):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stopped_by(stop: KeyboardInterrupt) -> str:
    """Return who stopped the program, in words."""
    return f"stopped by {signal.Signals(stop.number).name if isinstance(stop, _Terminated) else 'Ctrl-C'}"


@contextmanager
def _terminable() -> Iterator[None]:
    """End on SIGTERM, or where the terminal is closed, as on Ctrl-C: jobs are cancelled, and what counts is written."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise _Terminated(number)

    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def told_once(config: str, overrides: Sequence[str]) -> Iterator[None]:
    """Leave it to one of the processes that ``mpirun`` started for one fit to tell what all of them find wrong."""
    try:
        yield
    except InputError:
        if not speaks() and kind_named(config, overrides) in {"mpi", None}:
            raise typer.Exit(DONE) from None  # a failure would have mpirun end the one that tells, perhaps too early
        raise


def say(text: str) -> None:
    """Write a line for people to standard error; standard output is for results."""
    with suppress(OSError):  # of a terminal that was closed
        typer.echo(text, err=True)


class _Aloud(logging.Handler):
    def __init__(self, events: Collection[str]) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) in self._events:
            say(record.getMessage())


@contextmanager
def telling(*events: str) -> Iterator[None]:
    """Tell people what is logged of events, too."""
    logger, aloud = logging.getLogger("dask_em"), _Aloud(events)
    logger.addHandler(aloud)
    try:
        yield
    finally:
        logger.removeHandler(aloud)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with errors turned into a sentence on standard error and an exit status."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            with _terminable():
                command(*arguments, **options)
        except typer.Exit:
            raise
        except InputError as error:
            say(f"error: {error}")
            raise typer.Exit(WRONG_INPUT) from None
        except ClusterError as error:
            say(f"error: {error}")
            raise typer.Exit(CLUSTER_LOST) from None
        except KeyboardInterrupt as stop:
            say(stopped_by(stop))
            raise typer.Exit(BY_SIGNAL + stop.number if isinstance(stop, _Terminated) else STOPPED) from None
        except FaultError as fault:
            _report(fault.__cause__ or fault, fault.log)
        except Exception as error:  # noqa: BLE001  # whatever it is, people see one sentence
            with tempfile.NamedTemporaryFile("w", prefix="dask-em-", suffix=".log", delete=False) as file:
                file.write("".join(traceback.format_exception(error)))
            _report(error, file.name)

    return run


def _report(error: BaseException, log: str) -> None:
    told = without_credentials(" ".join(str(error).split()))
    say(f"dask-em failed, which is a fault of ours: {type(error).__name__}{f': {told}' if told else ''}")
    say(f"The traceback is in {log}; please report it, with what you ran.")
    raise typer.Exit(FAULT) from None
