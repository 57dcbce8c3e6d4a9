"""Starting and taking down to the end, whatever interrupts it.

Ctrl-C cancels what distributed does half-way: processes that were started by then are nobody's, and jobs that were to
be cancelled stay. Here a stop that comes meanwhile counts when that is done.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["taken_down", "undisturbed"]

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 30.0  # seconds that a stop waits for; another that comes later does not: somebody may never answer


@contextmanager
def taken_down(start: Callable[[], Any]) -> Iterator[Any]:
    """Start a cluster of distributed's kind, give it, and close it at the end."""
    cluster = None
    try:
        with undisturbed():
            cluster = start()
        yield cluster
    finally:
        if cluster is not None:
            with undisturbed():
                cluster.close()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let stops wait for the end of the block. They are heard in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[tuple[int, float]] = []  # signals, and when they came

    def wait(number: int, _frame: FrameType | None) -> None:
        heard.append((number, time.monotonic()))
        if heard[-1][1] - heard[0][1] > LONGEST:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, action in before.items():
            signal.signal(number, action)

    before = {number: signal.getsignal(number) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, wait)
    try:
        yield
    finally:
        restore()
        if heard:
            signal.raise_signal(heard[0][0])
