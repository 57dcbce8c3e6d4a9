"""One BLAS thread per task: the number of threads changes bits, and the cores are busy with blocks already.

A plain thread pool's limit belongs to the process, an OpenMP runtime's to each thread that calls: both are held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl  # type: ignore[import-untyped]  # ships without types

__all__ = ["limit_this_thread", "pin_blas_once", "single_threaded_blas"]


class _Process:
    """The limit that belongs to the process: whoever comes last gives it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.pinned = False
        self.controller: Any = None  # of the libraries that were loaded when the limit was taken
        self.limits: Any = None


class _Thread(threading.local):
    pinned = False


_PROCESS, _THREAD = _Process(), _Thread()


def _take_control() -> None:
    """Make this thread the one that may set the process's limit.

    threadpoolctl lets only the thread that set it last do so, and ignores others silently: without this, a fit in one
    thread would run unlimited after a limit in another.
    """
    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)  # older versions let every thread set it
    if clear is not None:
        clear(force=True)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS at one thread, for a whole fit; the user's own setting comes back at the end.

    It may be entered again within itself and from several threads: the last to leave gives the setting back.
    """
    with _PROCESS.lock:
        _PROCESS.holders += 1
        if _PROCESS.holders == 1:
            _take_control()
            _PROCESS.controller = threadpoolctl.ThreadpoolController()
            _PROCESS.limits = _PROCESS.controller.limit(limits=1)
        of_thread = _PROCESS.controller.select(user_api="openmp").limit(limits=1)
    try:
        yield
    finally:
        with _PROCESS.lock:
            of_thread.restore_original_limits()
            _PROCESS.holders -= 1
            if _PROCESS.holders == 0:
                _take_control()
                _PROCESS.limits.restore_original_limits()
                _take_control()  # and leave it to whoever asks next
                _PROCESS.controller = _PROCESS.limits = None


def limit_this_thread() -> None:
    """Hold OpenMP at one thread in a pool's thread, within :func:`single_threaded_blas`; it ends with the thread."""
    controller = _PROCESS.controller
    if controller is not None:
        controller.select(user_api="openmp").limit(limits=1)


def pin_blas_once() -> None:
    """Hold BLAS at one thread for as long as this worker process lives.

    The process's limit is left alone where :func:`single_threaded_blas` holds it: a worker that lives in the user's
    own process must not keep it.
    """
    with _PROCESS.lock:
        if not _PROCESS.pinned and not _PROCESS.holders:
            _take_control()
            threadpoolctl.threadpool_limits(limits=1)
            _PROCESS.pinned = True
    if not _THREAD.pinned:
        threadpoolctl.threadpool_limits(limits=1, user_api="openmp")
        _THREAD.pinned = True
