"""TLS: who may join a cluster, and who may read what its processes tell one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import Security

from dask_em.errors import InputError, to_install
from dask_em.execution.kinds import ClusterSettings

__all__ = ["known", "of_files", "of_processes", "security_of"]

ROLES = ("client", "scheduler", "worker")
FILES = {"ca_file": "the authority's certificate", "cert": "the certificate", "key": "the private key"}


def security_of(settings: ClusterSettings) -> Security | None:
    """Return how a cluster is secured; None: as Dask's own configuration says, which is not at all by default.

    Raises
    ------
    InputError
        A file is missing or is no certificate, or the library that makes certificates is.
    """
    given = settings.security
    if given is None:
        return None
    if given == "tls":
        return _temporary()
    if not isinstance(given, Mapping) or set(given) != set(FILES):
        raise InputError(f'cluster.security must be "tls" or the paths {", ".join(FILES)}')
    return _read(given)


def known(security: Security | None) -> Any:
    """Return a cluster's security, or the one that Dask's own configuration names; untyped, as distributed's is."""
    return security or Security()  # type: ignore[no-untyped-call]  # distributed's own


def of_files(paths: Mapping[str, str]) -> Security:
    """Return the security of files: ca_file, cert and key, the same for all roles."""
    roles = {f"tls_{role}_{part}": paths[part] for role in ROLES for part in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=paths["ca_file"], **roles)  # type: ignore[no-untyped-call]  # as above


def of_processes(security: Any) -> dict[str, Any]:
    """Return a cluster's security as Dask's configuration has it, for processes that are told nothing else."""
    if security is None:
        return {}
    told = {"distributed.comm.require-encryption": True, "distributed.comm.tls.ca-file": security.tls_ca_file}
    for role in ROLES:
        files = security.get_tls_config_for_role(role)
        told |= {f"distributed.comm.tls.{role}.{part}": files[part] for part in ("cert", "key")}
    return told


def _temporary() -> Security:
    try:
        made: Security = Security.temporary()  # type: ignore[no-untyped-call]  # as above
        return made
    except ImportError as error:
        raise InputError(
            "cluster.security tls makes certificates with cryptography, which is not installed: "
            f"{to_install('dask-em[tls]')}"
        ) from error


def _read(given: Mapping[str, str]) -> Security:
    paths = {name: str(Path(given[name]).expanduser().absolute()) for name in FILES}
    for name, path in paths.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise InputError(
                f"cluster.security.{name} is {path}, which cannot be read: {error.strerror}; give the path of "
                f"{FILES[name]}"
            ) from error
    security = of_files(paths)
    try:
        known(security).get_connection_args("client")
    except OSError as error:  # ssl's own are such
        raise InputError(
            f"cluster.security cannot be used ({' '.join(str(error).split())}); give the PEM files of an authority, "
            "of a certificate that it signed, and of that certificate's key"
        ) from error
    return security
