"""A scheduler that runs already."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed.comm.addressing import get_address_host_port

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher

__all__ = ["Address"]


class Address(Launcher):
    """A scheduler that somebody else has started, and will take down."""

    waits = False  # its workers may come when there is work

    @contextmanager
    def launched(self) -> Iterator[Any]:
        address = self.settings.address or ""
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
