"""A scheduler that runs already."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Security
from distributed.comm.addressing import get_address_host_port
from distributed.comm.core import connect
from distributed.utils import LoopRunner

from dask_em.errors import InputError
from dask_em.execution.kinds import ClusterSettings
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.security import known, security_of
from dask_em.storage.secrets import without_credentials

__all__ = ["Address"]

LOOK, LEAST = 0.2, 1.0  # seconds: how often a file is looked for, and to knock in


class Address(Launcher):
    """A scheduler that somebody else has started, and will take down."""

    waits = False  # its workers may come when there is work

    def __init__(self, settings: ClusterSettings) -> None:
        if settings.security == "tls":
            raise InputError(
                "cluster.security is tls, which makes new certificates, and the scheduler that runs already has its "
                "own: give their paths (ca_file, cert, key)"
            )
        super().__init__(settings)
        self.security = security_of(settings)

    @contextmanager
    def launched(self) -> Iterator[Any]:
        deadline = time.monotonic() + self.timeout
        address = self.settings.address or self._written(deadline)
        if "@" in address:
            raise InputError(
                f"cluster.address is {without_credentials(address)}, which names a user, and Dask's schedulers know "
                "none; write it as tcp://node1:8786"
            )
        if self.security is not None and "://" not in address:
            address = f"tls://{address}"
        self._require_fitting(address)
        left = max(LEAST, deadline - time.monotonic())
        try:
            # knocked at first: a Client that finds nobody prints tracebacks when it is thrown away
            with socket.create_connection(get_address_host_port(address), left):
                pass
            LoopRunner().run_sync(_greet, address, left, self.security)  # type: ignore[no-untyped-call]  # distributed's own
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address}{self._source()} within {self.timeout:g} seconds "
                f"({_why(error)}); start one with `dask scheduler` and write the address that it prints"
            ) from error
        yield address

    def _written(self, deadline: float) -> str:
        """Return the address in the scheduler's file, which may come yet."""
        path = Path(self.settings.scheduler_file or "").expanduser()
        while True:
            found = _address_in(path)
            if isinstance(found, str):
                return found
            if time.monotonic() >= deadline:
                raise InputError(
                    f"cluster.scheduler_file {path} names no scheduler within {self.timeout:g} seconds ({found}); "
                    f"start one with `dask scheduler --scheduler-file {path}`, or wait longer (cluster.timeout)"
                ) from found
            time.sleep(LOOK)

    def _source(self) -> str:
        return "" if self.settings.scheduler_file is None else f", which {self.settings.scheduler_file} names,"

    def _require_fitting(self, address: str) -> None:
        secure = known(self.security)  # which Dask's own configuration may name
        if address.startswith("tls://") and secure.tls_ca_file is None:
            raise InputError(
                f"the scheduler at {address} encrypts; give the certificates that it knows: cluster.security with the "
                "paths ca_file, cert and key"
            )
        if secure.require_encryption and not address.startswith("tls://"):
            raise InputError(
                f"the scheduler at {address} does not encrypt, and cluster.security asks for it; start it with "
                "--protocol tls and its certificates, or leave cluster.security out"
            )


def _address_in(path: Path) -> str | Exception:
    """Return the address in a scheduler's file, or why there is none yet."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["address"])
    except OSError as error:
        return error
    except (ValueError, KeyError, TypeError):  # half of it is written
        return ValueError("it is not a scheduler's whole file")


async def _greet(address: str, seconds: float, security: Security | None) -> None:
    """Speak to a scheduler as Dask does: whoever else listens there, or wants another certificate, is found out."""
    arguments = known(security).get_connection_args("client")
    async with asyncio.timeout(seconds):
        comm = await connect(address, timeout=seconds, **arguments)  # type: ignore[no-untyped-call]  # distributed's own
    await comm.close()


def _why(error: BaseException) -> str:
    """Return an error's words, with those of what it came from."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if error.__cause__ is None else f"{words}: {_why(error.__cause__)}"
