"""Certificates by which scheduler, workers and client know one another."""

from __future__ import annotations

from distributed import Security

from dask_em.errors import InputError
from dask_em.execution.kinds import ClusterSettings

__all__ = ["security_of"]


def security_of(settings: ClusterSettings) -> Security | None:
    """Return how connections are encrypted; None: they are not.

    Raises
    ------
    InputError
        What makes certificates is not installed.
    """
    told = settings.security
    if told is None:
        return None
    if told == "tls":
        try:
            made: Security = Security.temporary()  # type: ignore[no-untyped-call]  # distributed's own
            return made
        except ImportError as error:
            raise InputError(
                "cluster.security tls makes certificates with cryptography, which is not installed: "
                "pip install cryptography"
            ) from error
    assert not isinstance(told, str)
    roles = {f"tls_{role}_{part}": told[part] for role in ("scheduler", "worker", "client") for part in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=told["ca_file"], **roles)  # type: ignore[no-untyped-call]  # as above
