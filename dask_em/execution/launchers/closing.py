"""Taking down what was started, to the end, whatever interrupts it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["taken_down"]

LONGEST = 120.0  # seconds, after which whoever should end what was started does not answer

logger = logging.getLogger("dask_em")


@contextmanager
def taken_down(cluster: Any) -> Iterator[Any]:
    """Give a cluster of distributed's kind, and close it at the end.

    Ctrl-C cancels distributed's own ``close`` half-way, and what is left then stays. Here a stop that comes while the
    cluster is closed counts when it is.
    """
    try:
        yield cluster
    finally:
        _close(cluster)


def _close(cluster: Any) -> None:
    closing = asyncio.run_coroutine_threadsafe(cluster._close(), cluster.loop.asyncio_loop)  # noqa: SLF001  # see above
    end, stop = time.monotonic() + LONGEST, None
    while not closing.done() and time.monotonic() < end:
        try:
            closing.exception(end - time.monotonic())
        except KeyboardInterrupt as interrupt:
            stop = interrupt
        except TimeoutError:
            logger.warning("the cluster is not closed after %g seconds; look for what it leaves", LONGEST)
    if closing.done():
        closing.result()
        cluster.close()  # its event loop
    if stop is not None:
        raise stop
