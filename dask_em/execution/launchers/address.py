"""A scheduler that runs already."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed.comm.addressing import get_address_host_port

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher

__all__ = ["Address"]

LOOK = 0.2  # seconds: how often a file is looked for


class Address(Launcher):
    """A scheduler that somebody else has started, and will take down."""

    waits = False  # its workers may come when there is work

    @contextmanager
    def launched(self) -> Iterator[Any]:
        address = self.settings.address or self._written()
        try:
            host, port = get_address_host_port(address)
            # knocked at first: a Client that finds nobody prints tracebacks when it is thrown away
            with socket.create_connection((host, port), self.timeout):
                pass
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address} within {self.timeout:g} seconds "
                f"({' '.join(str(error).split()) or type(error).__name__}); start one with `dask scheduler` and write "
                "the address that it prints"
            ) from error
        yield address

    def _written(self) -> str:
        """Return the address in the scheduler's file, which may come yet."""
        path, end = Path(self.settings.scheduler_file or ""), time.monotonic() + self.timeout
        while True:
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["address"])
            except (OSError, ValueError, KeyError, TypeError) as error:  # not there, or half of it
                if time.monotonic() >= end:
                    raise InputError(
                        f"cluster.scheduler_file {path} names no scheduler within {self.timeout:g} seconds; start one "
                        f"with `dask scheduler --scheduler-file {path}`, or wait longer (cluster.timeout)"
                    ) from error
            time.sleep(LOOK)
