"""A scheduler, and workers in network namespaces of their own whose links can be cut. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distributed import Client

ROOT = Path(__file__).parents[2]


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def why_not() -> str | None:
    """Return why namespaces cannot be made here; None: they can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2's ip"
    name = f"dem{os.getpid()}x"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
        ip("link", "add", name, "type", "bridge")
        ip("link", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"
    return None


class Network:
    """Workers, each in a namespace, and a bridge between them and the namespace of this process."""

    def __init__(self, workers: int) -> None:
        self.name = f"dem{os.getpid()}"
        self.prefix = f"198.18.{os.getpid() % 250}"  # a range that is for tests of networks
        self.names = [f"{self.name}n{i}" for i in range(workers)]
        self.hosts = [f"{self.prefix}.{10 + i}" for i in range(workers)]

    def lay(self) -> None:
        ip("link", "add", self.name, "type", "bridge")
        ip("address", "add", f"{self.prefix}.1/24", "dev", self.name)
        ip("link", "set", self.name, "up")
        for name, host in zip(self.names, self.hosts, strict=True):
            ip("netns", "add", name)
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", name, "master", self.name, "up")
            ip("-n", name, "address", "add", f"{host}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")

    def remove(self) -> None:
        """Kill what runs in the namespaces, and remove all of it, however little of it there is."""
        for name in self.names:
            found = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True)
            for pid in found.stdout.split():
                subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.name], check=False, capture_output=True)

    def cut(self, worker: int) -> None:
        """Let no packet through, to or from a worker; nobody is told."""
        ip("link", "set", self.names[worker], "nomaster")

    def cut_between_workers(self, refuse: bool = False) -> None:
        """Let no packet through from worker to worker: in silence, or refused at once."""
        for name, host in zip(self.names, reversed(self.hosts), strict=True):
            if refuse:
                ip("-n", name, "route", "add", "unreachable", host)
            else:
                ip("link", "set", "dev", name, "type", "bridge_slave", "isolated", "on")

    def heal(self) -> None:
        """Mend whatever is cut."""
        for name in self.names:
            ip("link", "set", name, "master", self.name)
            ip("link", "set", "dev", name, "type", "bridge_slave", "isolated", "off")
            ip("-n", name, "route", "flush", "type", "unreachable")


@contextmanager
def network(folder: Path, settings: dict[str, str], workers: int = 2) -> Iterator[tuple[Network, Client]]:
    """Give a network with a worker of one thread in each namespace, and a client; ``settings`` are Dask's."""
    net = Network(workers)
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}

    def start(*command: str) -> None:
        with (folder / "log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        stack.callback(process.wait)
        stack.callback(process.kill)

    with ExitStack() as stack:
        stack.callback(net.remove)
        net.lay()
        dask = (sys.executable, "-m")
        start(*dask, "distributed.cli.dask_scheduler", "--host", f"{net.prefix}.1", "--port", "8786", "--no-dashboard")
        for name, host in zip(net.names, net.hosts, strict=True):
            options = ("--host", host, "--nthreads", "1", "--memory-limit", "1GiB", "--no-dashboard")
            inside = ("ip", "netns", "exec", name, *dask, "distributed.cli.dask_worker")
            start(*inside, f"tcp://{net.prefix}.1:8786", *options, "--local-directory", str(folder))
        stack.callback(net.heal)
        with Client(f"tcp://{net.prefix}.1:8786", timeout=30, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            yield net, client
