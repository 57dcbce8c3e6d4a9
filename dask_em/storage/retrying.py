"""Storage that fails for a moment is asked again, after pauses that grow.

A read may be done again as often as one likes: it gives the same rows each time. So may a write that puts the same
bytes under the same name.
"""

from __future__ import annotations

import errno
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from dask_em.storage.secrets import without_credentials

__all__ = ["NOTES", "TRIES", "Retrying", "is_transient", "told"]

V = TypeVar("V")
TRIES = 8
PAUSE, PAUSE_MOST = 0.25, 20.0  # seconds; pauses are random below a bound that doubles, so that workers do not march
NOTES = 20  # that are told of a pass: storage that is down fails for every block
_ERRNOS = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.EPIPE,
        errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})  # of HTTP: too busy, or not there for now
_NAMES = frozenset(  # of errors of aiohttp, botocore and azure.core, which are no OSErrors
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "IncompleteRead",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        "ServiceRequestError",
        "ServiceResponseError",
    }
)

logger = logging.getLogger("dask_em")


class _Stopped(Exception):  # noqa: N818  # no error: nobody wants the rows any more, and nobody sees this
    pass


@dataclass
class Retrying:
    """Calls what reads, or writes whole; notes each time that it failed for a moment.

    Who no longer wants what is read sets ``stopped``, from another thread: it ends a pause.
    """

    stopped: threading.Event = field(default_factory=threading.Event)
    _notes: list[str] = field(default_factory=list)

    def __call__(self, act: Callable[[], V], where: str, doing: str = "reading") -> V:
        """Return what ``act`` gives; where it fails for good, or too often, raise its own error."""
        for attempt in count(1):  # no library: tenacity's cyclic thread-locals hang CPython before 3.11.8 (gh-106883)
            try:
                return act()
            except Exception as error:
                if attempt == TRIES or not is_transient(error):
                    raise
                self._note(f"{doing} {where} was tried again (try {attempt + 1} of {TRIES}): {told(error)}")
            self._pause(random.uniform(0, min(PAUSE_MOST, PAUSE * 2 ** (attempt - 1))))  # noqa: S311  # no secret
        raise AssertionError  # the loop returns or raises

    def told(self) -> tuple[str, ...]:
        """Return the notes, and begin anew."""
        notes = tuple(self._notes)
        del self._notes[: len(notes)]  # another thread may have added one meanwhile
        return notes

    def _note(self, text: str) -> None:
        logger.warning(text, extra={"event": "storage retried"})
        if len(self._notes) < NOTES:
            self._notes.append(text)

    def _pause(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise _Stopped


def told(error: BaseException | None) -> str:
    """Return what an error says, in one line and without secrets."""
    return without_credentials(" ".join(str(error or "").split())) or type(error).__name__


def is_transient(error: BaseException) -> bool:
    """Say whether an error, or what caused it, may pass by itself: a network or a service that is down or busy."""
    return any(isinstance(cause, Exception) and _passes(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _passes(error: Exception) -> bool:
    if isinstance(error, TimeoutError | ConnectionError) or _statuses(error) & _STATUSES:
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any(kind.__name__ in _NAMES for kind in type(error).__mro__)


def _statuses(error: Any) -> set[int]:
    """Return the HTTP status of an error of aiohttp, gcsfs, adlfs, requests or botocore."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = [response.get("ResponseMetadata", {}).get("HTTPStatusCode")]
    else:
        found = [getattr(each, name, None) for each in (error, response) for name in ("status", "code", "status_code")]
    return {status for status in found if isinstance(status, int)}
