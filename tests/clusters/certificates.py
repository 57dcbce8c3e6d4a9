"""Certificates in files, as an administrator hands them out."""

from __future__ import annotations

from pathlib import Path

from distributed import Security

__all__ = ["certificates"]


def certificates(folder: Path) -> dict[str, str]:
    """Write an authority's certificate, one that it signed, and its key; return their paths as a config names them."""
    folder.mkdir()
    made = Security.temporary()
    texts = {"ca_file": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(text)
    return {name: str(folder / f"{name}.pem") for name in texts}
