"""A Slurm of our own on loopback: a controller and two nodes that are processes of the test's, without systemd."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MISSING", "Slurm", "free_port", "running_slurm", "until"]

NODES, CORES = 2, 2  # cores that a node pretends to have
STARTING, ENDING = 30.0, 10.0  # seconds at most
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun")
PATHS = "/usr/sbin:/sbin"  # where daemons are, which not everybody has on the path
MISSING = [each for each in PROGRAMS if shutil.which(each, path=f"{os.environ['PATH']}:{PATHS}") is None]

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={root}/munge.sock,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
ReturnToService=2
PropagateResourceLimits=NONE
KillWait=3
MpiDefault=none
StateSaveLocation={root}/state
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdSpoolDir={root}/spool.%n
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdLogFile={root}/slurmd.%n.log
{nodes}
PartitionName=main Nodes=n[1-{number}] Default=YES MaxTime=60 State=UP
"""
NODE = (
    "NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=8000 State=UNKNOWN"
)


@dataclass(frozen=True)
class Slurm:
    """A Slurm that runs; ``configuration`` is what SLURM_CONF names."""

    configuration: Path

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm's prints."""
        environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    def jobs(self, state: str = "all") -> list[str]:
        """Return the numbers of the jobs that wait, run or end, oldest first."""
        states = () if state == "all" else (f"--states={state}",)
        return sorted(self.ask("squeue", "--noheader", "--format=%A", *states).split(), key=int)

    def empty(self) -> None:
        """Wait until nothing is left in the queue; raise where something stays."""
        until(lambda: not self.jobs(), "the queue is empty")


def until(holds: Callable[[], object], what: str, seconds: float = STARTING) -> None:
    """Wait for something that will come soon."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} seconds it is not so that {what}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start munged, slurmctld and the nodes' slurmd; end them in reverse, and every job before them."""
    with ExitStack() as stack:
        # no folder of pytest's: munged wants its socket where everybody may go
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        slurm = Slurm(_written(root))
        configuration = slurm.configuration
        munged = ("munged", "-F", f"--key-file={root}/key/munge.key", f"--socket={root}/munge.sock")
        own = (f"--pid-file={root}/munge.pid", f"--log-file={root}/munge.log", f"--seed-file={root}/munge.seed")
        stack.enter_context(_child(root, *munged, *own))
        until((root / "munge.sock").exists, "munged listens")
        stack.enter_context(_child(root, "slurmctld", "-D", "-c", "-f", str(configuration)))
        for number in range(1, NODES + 1):
            stack.enter_context(_child(root, "slurmd", "-D", "-N", f"n{number}", "-f", str(configuration)))
        until(lambda: _idle(slurm), "both nodes are idle")
        try:
            yield slurm
        finally:
            slurm.ask("scancel", f"--user={getpass.getuser()}")
            slurm.empty()


def _written(root: Path) -> Path:
    for name, mode in (("key", 0o700), ("state", 0o755)):
        (root / name).mkdir(mode=mode)
    root.chmod(0o755)
    key = root / "key/munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    host = socket.gethostname()
    ports = [free_port() for _ in range(NODES + 1)]
    nodes = [NODE.format(number=i, host=host, port=port, cores=CORES) for i, port in enumerate(ports[1:], 1)]
    told = {"host": host, "port": ports[0], "user": getpass.getuser(), "root": root, "number": NODES}
    (root / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (root / "slurm.conf").write_text(CONFIGURATION.format(nodes="\n".join(nodes), **told))
    return root / "slurm.conf"


@contextmanager
def _child(root: Path, program: str, *arguments: str) -> Iterator[None]:
    environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf"), "PATH": f"{os.environ['PATH']}:{PATHS}"}
    with (root / f"{program}.said").open("a") as said:
        child = subprocess.Popen(
            [program, *arguments], env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(ENDING)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(ENDING)


def _idle(slurm: Slurm) -> bool:
    try:
        return slurm.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * NODES
    except subprocess.CalledProcessError:  # the controller does not answer yet
        return False
