"""The kinds of cluster, and what each of them is told. Needs no Dask: a config is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["KINDS", "ClusterSettings", "Kind", "KindName", "misfit"]

KindName = Literal[
    "none", "threads", "local", "address", "slurm", "pbs", "sge", "lsf", "htcondor", "oar", "mpi", "ssh", "kubernetes",
    "gateway", "custom",
]  # fmt: skip


@dataclass(frozen=True)
class ClusterSettings:
    """Where to compute: the keys of a config's section ``cluster``. What is None is as the kind has it."""

    kind: KindName = "threads"
    workers: int | None = None  # processes; one a core of this machine where they are local; jobs of a queue
    threads_per_worker: int = 1
    memory_limit: str | None = None  # of each process, such as "2GiB"; None: its share of the machine's memory
    address: str | None = None  # of the scheduler, or of the gateway
    scheduler_file: str | None = None  # that a scheduler which runs already has written
    least_workers: int | None = None  # that adapting to the load leaves; None: all of them, always
    hosts: tuple[str, ...] | None = None  # the scheduler's, then the workers'
    walltime: str | None = None  # of each job: "HH:MM:SS"
    queue: str | None = None  # or partition
    account: str | None = None  # or project, that is charged
    interface: str | None = None  # the network that scheduler and workers talk over
    class_: str | None = None  # "module:Class" of a cluster of Dask's kind
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # further arguments of the library's class
    security: str | Mapping[str, str] | None = None  # "tls", or the paths ca_file, cert and key
    timeout: float | None = None  # seconds to wait for the scheduler's answer and for the first worker
    resident: str | None = None  # bytes of rows that may stay in memory between passes; None: half of what is free
    patience: float | None = None  # seconds after which a pass that stands still is tried again; None: 300


@dataclass(frozen=True)
class Kind:
    """What a kind of cluster is told, beside what all are, and what it needs to be told."""

    what: str
    launcher: str | None = None  # "module:Class" in execution.launchers; None: nothing is started
    knows: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    extra: str | None = None  # of the package, which brings the library


ALL = frozenset({"kind", "workers", "threads_per_worker", "memory_limit", "resident", "patience", "timeout"})
_JOBS = frozenset({"least_workers", "walltime", "queue", "account", "interface", "kwargs", "security"})


def _jobs(what: str, lacks: str = "") -> Kind:
    needs = ("workers", "memory_limit", "walltime")
    return Kind(f"jobs of {what}", "jobs:Jobs", _JOBS - {lacks}, needs, "jobqueue")


KINDS: dict[str, Kind] = {
    "none": Kind("the threads of this process"),
    "threads": Kind("the threads of this process, one per core"),
    "local": Kind("Dask workers started on this machine", "local:Local", frozenset({"security"})),
    "address": Kind(
        "a Dask scheduler that runs already", "address:Address", frozenset({"address", "scheduler_file", "security"})
    ),
    "slurm": _jobs("Slurm"),
    "pbs": _jobs("PBS"),
    "sge": _jobs("Grid Engine"),
    "lsf": _jobs("LSF"),
    "htcondor": _jobs("HTCondor", lacks="queue"),
    "oar": _jobs("OAR"),
    "mpi": Kind("the ranks of mpirun", "mpi:MPI", frozenset({"interface", "kwargs", "security"}), (), "mpi"),
    "ssh": Kind(
        "machines reached by SSH", "ssh:SSH", frozenset({"hosts", "interface", "kwargs", "security"}), ("hosts",), "ssh"
    ),
    "kubernetes": Kind(
        "pods, by the Dask operator",
        "cloud:Kubernetes",
        frozenset({"least_workers", "kwargs"}),
        ("workers",),
        "kubernetes",
    ),
    "gateway": Kind(
        "a Dask Gateway", "cloud:Gateway", frozenset({"address", "least_workers", "kwargs"}), ("workers",), "gateway"
    ),
    "custom": Kind(
        "any class of clusters of Dask's kind",
        "cloud:Custom",
        frozenset({"class", "least_workers", "kwargs"}),
        ("class",),
    ),
}
_MEANINGS = {
    "address": "such as tcp://127.0.0.1:8786",
    "class": "such as coiled:Cluster",
    "hosts": "such as [node1, node1, node2], the scheduler's first",
    "memory_limit": "of each worker, such as 16GB",
    "walltime": "of each job, such as 04:00:00",
    "workers": "how many",
}


def misfit(kind: str, given: Mapping[str, Any]) -> str | None:
    """Say which keys a kind does not know of those given, which it lacks, or which contradict; None: all is well."""
    this = KINDS[kind]
    for key in given:
        if key not in ALL | this.knows:
            fitting = " or ".join(name for name, other in KINDS.items() if key in other.knows)
            return (
                f"cluster.{key} is given, but cluster.kind is {kind}; write kind: {fitting} to use it, or {key}: null "
                "to leave it out"
            )
    for key in this.needs:
        if key not in given:
            return f"cluster.{key} is missing; kind: {kind} needs it, {_MEANINGS[key]}"
    if "least_workers" in given and given["least_workers"] > given.get("workers", 0):
        return (
            f"cluster.least_workers is {given['least_workers']}, of cluster.workers, which is "
            f"{given.get('workers', 'not given')}; it must be at most as many"
        )
    if kind == "address" and ("address" in given) == ("scheduler_file" in given):
        if "address" in given:
            return "cluster.address and cluster.scheduler_file are both given; leave one of them out"
        return f"cluster.address is missing; kind: address needs one, {_MEANINGS['address']}, or a scheduler_file"
    return None
