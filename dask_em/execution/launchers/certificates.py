"""Certificates that jobs read from files, while the fit that made them holds them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Security

__all__ = ["SHOWN", "lent"]

_OTHERS = ("tls_client_cert", "tls_client_key", "tls_scheduler_cert", "tls_scheduler_key")

# What stands in a job script that is only shown, for certificates that are made when the fit begins.
SHOWN = Security(  # type: ignore[no-untyped-call]  # distributed's own
    require_encryption=True, tls_ca_file="CA_FILE", tls_worker_cert="CERT", tls_worker_key="KEY"
)


@contextmanager
def lent(security: Security | None, folder: Path) -> Iterator[Security | None]:
    """Give the same security, whose worker's part lies in files of ``folder`` meanwhile, for this user alone."""
    worker = security.get_tls_config_for_role("worker") if security else {}  # type: ignore[no-untyped-call]  # as above
    if not any("\n" in (value or "") for value in worker.values()):  # none, or files already
        yield security
        return
    with TemporaryDirectory(prefix=".certificates-", dir=folder) as place:
        paths = {part: Path(place) / f"{part}.pem" for part in ("ca_file", "cert", "key")}
        for part, path in paths.items():
            path.write_text(worker[part], encoding="ascii")
        yield Security(  # type: ignore[no-untyped-call]  # as above
            require_encryption=True,
            tls_ca_file=str(paths["ca_file"]),
            tls_worker_cert=str(paths["cert"]),
            tls_worker_key=str(paths["key"]),
            **{name: getattr(security, name) for name in _OTHERS},
        )
