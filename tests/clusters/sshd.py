"""A real ``sshd`` on this machine's loopback, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["SSHD", "sshd"]

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SETTINGS = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv PYTHONPATH={root}
"""


@contextmanager
def sshd(folder: Path) -> Iterator[dict[str, Any]]:
    """Start it; give what ``asyncssh.connect`` needs to be let in."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(SETTINGS.format(port=port, folder=folder, root=Path(__file__).parents[2]))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it is locked in before it lets anybody in
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen([SSHD or "sshd", "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        _await(port, daemon, folder / "log")
        yield {
            "port": port,
            "username": getpass.getuser(),
            "client_keys": [str(folder / "user")],
            "known_hosts": None,
            "config": None,
        }
    finally:
        daemon.terminate()
        daemon.wait(10)


def _await(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and daemon.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"sshd did not start: {log.read_text()}")
