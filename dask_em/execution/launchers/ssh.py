"""Machines that are reached by SSH: the scheduler on the first, a worker on each of the others."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import asyncssh
import dask
from distributed import Security, SSHCluster
from distributed.utils import LoopRunner

from dask_em.errors import InputError
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.closing import taken_down, undisturbed
from dask_em.execution.launchers.interfaces import loopback
from dask_em.execution.launchers.local import HEALING
from dask_em.execution.launchers.security import known, of_files, of_processes, security_of
from dask_em.execution.launchers.settings import OF_WORKERS, require_memory
from dask_em.storage.secrets import told_without

__all__ = ["SSH"]

HERE = frozenset({"localhost", "127.0.0.1"})
LONELY = "60s"  # after which a worker ends that finds no scheduler, as where a fit is stopped while it starts
SAID = 3  # lines of what a process said, that are told
SPEAKER = logging.getLogger("distributed.deploy.ssh")  # repeats what processes elsewhere say while they start


class SSH(Launcher):
    """A ``distributed.SSHCluster``."""

    @contextmanager
    def launched(self) -> Iterator[Any]:
        settings = self.settings
        require_memory(settings.memory_limit)
        hosts = settings.hosts or ()
        if settings.workers not in {None, len(hosts) - 1}:
            raise InputError(
                f"cluster.workers is {settings.workers}, and cluster.hosts names {len(hosts) - 1} for workers, after "
                "the scheduler's; name a host once for each worker that it shall have, and leave cluster.workers out"
            )
        security = security_of(settings)
        with (
            self._placed(security) as there,
            dask.config.set(OF_WORKERS | HEALING | of_processes(there)),
            taken_down(partial(self._started, security)) as cluster,
        ):
            yield cluster

    def _started(self, security: Security | None) -> Any:
        arguments = self._arguments(security)
        with _heard() as said:
            try:
                return SSHCluster(hosts=list(self.settings.hosts or ()), silence_logs=logging.WARNING, **arguments)
            except Exception as error:  # SSHCluster raises some that are of no narrower class
                raise self._refusal(error, said) from error

    def _arguments(self, security: Security | None) -> dict[str, Any]:
        """Return what ``SSHCluster`` is called with beside the hosts."""
        settings = self.settings
        interface = settings.interface or (loopback() if HERE.issuperset(settings.hosts or ()) else None)
        network = {"interface": interface, "protocol": "tls" if security else None}
        process = {name: value for name, value in network.items() if value is not None}
        worker = {
            "nthreads": settings.threads_per_worker,
            "memory_limit": settings.memory_limit or "auto",
            "death_timeout": LONELY,
        }
        given = dict(settings.kwargs)
        return {
            **given,
            "connect_options": [self._connection(number) for number in range(len(settings.hosts or ()))],
            "scheduler_options": process | {"dashboard_address": "127.0.0.1:0"} | given.get("scheduler_options", {}),
            "worker_options": process | worker | given.get("worker_options", {}),
            "security": security,
        }

    def _connection(self, number: int) -> dict[str, Any]:
        """Return what ``asyncssh.connect`` is called with for a host beside its name."""
        given = self.settings.kwargs.get("connect_options", {})
        told: Mapping[str, Any] = given if isinstance(given, Mapping) else given[number]
        return {"connect_timeout": self.timeout, "login_timeout": self.timeout, **told}

    @contextmanager
    def _placed(self, security: Security | None) -> Iterator[Security | None]:
        """Give the security as the processes there find it: certificates made for this fit become a file on each host.

        They could be told on the command line, as all else is; but everybody there can read that.
        """
        if security is None or self.settings.security != "tls":
            yield security
            return
        folder = f"/tmp/dask-em-{secrets.token_hex(8)}"  # noqa: S108  # made by us, for us alone, or not at all
        both = f"{known(security).tls_worker_key}{known(security).tls_worker_cert}"
        try:
            self._everywhere(f"umask 077 && mkdir {folder} && cat > {folder}/tls.pem", both)
            yield of_files(dict.fromkeys(("ca_file", "cert", "key"), f"{folder}/tls.pem"))
        finally:
            with suppress(InputError):  # a host that is gone keeps a key that nothing uses any more
                self._everywhere(f"rm -rf {folder}")

    def _everywhere(self, command: str, sent: str = "") -> None:
        """Run a command once on each host."""
        hosts = {host: number for number, host in enumerate(self.settings.hosts or ())}

        async def run() -> None:
            for host, number in hosts.items():
                async with asyncssh.connect(host, **self._connection(number)) as connection:
                    await connection.run(command, input=sent, check=True, timeout=self.timeout)

        try:
            with undisturbed():
                LoopRunner().run_sync(run)  # type: ignore[no-untyped-call]  # as above
        except (OSError, asyncssh.Error) as error:
            raise self._refusal(error, [getattr(error, "stderr", "") or ""]) from error

    def _refusal(self, error: BaseException, said: list[str]) -> InputError:
        words = told_without(error, self.settings.kwargs) or type(error).__name__
        told = " | ".join(line.strip() for line in said[-SAID:] if line.strip())
        return InputError(
            f"no cluster could be started over SSH on {', '.join(self.settings.hosts or ())}: {words}"
            f"{f' ({told})' if told else ''}. Try `ssh HOST dask --version` by hand; what a connection needs "
            "stands in cluster.kwargs.connect_options"
        )


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Give the lines that processes on other machines say while they start."""
    said: list[str] = []

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear, before = _Ear(), SPEAKER.level
    SPEAKER.addHandler(ear)
    SPEAKER.setLevel(logging.INFO)
    try:
        yield said
    finally:
        SPEAKER.setLevel(before)
        SPEAKER.removeHandler(ear)
