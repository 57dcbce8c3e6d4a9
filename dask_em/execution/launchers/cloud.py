"""Clusters of other people's making: pods of Kubernetes, a Dask Gateway, or any class of clusters of Dask's kind."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from dask.utils import parse_bytes

from dask_em.errors import InputError
from dask_em.execution.kinds import ClusterSettings
from dask_em.execution.launchers import Launcher
from dask_em.execution.launchers.settings import SLOW, environment_of_workers, require_memory
from dask_em.storage.secrets import told_without

__all__ = ["Custom", "Gateway", "Kubernetes"]

COMING = 600.0  # seconds: machines may have to be started for the first worker


class Kubernetes(Launcher):
    """A ``dask_kubernetes.operator.KubeCluster``: the operator must run in the cluster of pods."""

    patience = COMING

    def __init__(self, settings: ClusterSettings) -> None:
        super().__init__(settings)
        self._library = import_module("dask_kubernetes.operator")

    @contextmanager
    def launched(self) -> Iterator[Any]:
        with _refusals(self.settings):
            # asked at first: a KubeCluster that finds nobody prints tracebacks when Python ends
            import_module("kr8s").api().version()
            cluster = self._library.KubeCluster(**self.arguments())
        with cluster:
            _keep(cluster, self.settings)
            yield cluster

    def arguments(self) -> dict[str, Any]:
        """Return what ``KubeCluster`` is called with."""
        settings, given, make_spec = self.settings, dict(self.settings.kwargs), self._library.make_cluster_spec
        require_memory(settings.memory_limit)
        own: dict[str, Any] = {"quiet": True, "shutdown_on_close": True, "resource_timeout": int(self.timeout)}
        if "custom_cluster_spec" in given:
            return own | given
        of_spec = {name: given.pop(name) for name in inspect.signature(make_spec).parameters if name in given}
        size = _pod(settings)
        ours = {
            "name": f"dask-em-{secrets.token_hex(4)}",
            "n_workers": settings.workers,
            "resources": {"limits": size, "requests": size},
            "worker_command": ["dask", "worker", "--nthreads", str(settings.threads_per_worker)],
        }
        environment = _environment(of_spec.pop("env", {}))
        spec = make_spec(**(ours | of_spec), env=environment)
        container = spec["spec"]["scheduler"]["spec"]["containers"][0]
        # dask-scheduler, which the library writes, is no command of distributed's any more
        container["args"] = ["dask", "scheduler", *container["args"][1:]]
        return own | {"custom_cluster_spec": spec} | given


class Gateway(Launcher):
    """A cluster that a Dask Gateway starts."""

    patience = COMING

    def __init__(self, settings: ClusterSettings) -> None:
        super().__init__(settings)
        self._library = import_module("dask_gateway")

    @contextmanager
    def launched(self) -> Iterator[Any]:
        access, chosen = self.arguments()
        with _refusals(self.settings):
            server = self._library.Gateway(**access)
        with server:
            with _refusals(self.settings):
                options = server.cluster_options()
                cluster = server.new_cluster(options, **self.sizes(options), **chosen)
            with cluster:
                _keep(cluster, self.settings)
                yield cluster

    def arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what tells of the way to the gateway, and the options of its clusters that are given."""
        given = dict(self.settings.kwargs)
        known = set(inspect.signature(self._library.Gateway).parameters) - {"asynchronous", "loop"}
        access = {name: given.pop(name) for name in sorted(known & set(given))}
        return {"address": self.settings.address} | access, given

    def sizes(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the size of a worker as the gateway's documentation names it: cores, and memory in GiB.

        Raises
        ------
        InputError
            The administrators gave these options other names.
        """
        settings = self.settings
        memory = settings.memory_limit
        asked = {
            "worker_cores": None if settings.threads_per_worker == 1 else settings.threads_per_worker,
            "worker_memory": None if memory in {None, "auto"} else parse_bytes(memory) / 2**30,
        }
        sizes = {name: size for name, size in asked.items() if size is not None and name not in settings.kwargs}
        for name in sizes:
            if name not in options:
                raise InputError(
                    f"the gateway has no option {name}; it has {', '.join(options) or 'none'}. Leave "
                    "cluster.threads_per_worker and cluster.memory_limit out, and set its own in cluster.kwargs"
                )
        return sizes


class Custom(Launcher):
    """A class of clusters that a config names, such as dask-cloudprovider's or Coiled's."""

    patience = COMING

    @contextmanager
    def launched(self) -> Iterator[Any]:
        named = _class(self.settings.class_ or "")
        with _refusals(self.settings):
            made = named(**self.settings.kwargs)
        if not (hasattr(made, "scheduler_address") and hasattr(made, "__enter__")):
            raise InputError(
                f"cluster.class {self.settings.class_} makes a {type(made).__name__}, which is no cluster of Dask's "
                "kind: it has no scheduler_address, or is no context manager"
            )
        with made as cluster:
            _keep(cluster, self.settings)
            yield cluster


def _class(name: str) -> Any:
    module, _, term = name.partition(":")
    try:
        found = getattr(import_module(module), term, None)
    except ImportError as error:
        raise InputError(
            f"cluster.class {name} cannot be loaded: {error}; install what it belongs to, or mend the name"
        ) from error
    if not callable(found):
        raise InputError(f"cluster.class {name}: there is no class {term!r} in {module}; write it as module:Class")
    return found


def _keep(cluster: Any, settings: ClusterSettings) -> None:
    """Ask for the workers, and for those that are lost to be replaced; give some back where that is wished."""
    most, least = settings.workers, settings.least_workers
    if most is None:
        return
    with _refusals(settings):
        cluster.scale(most)
        if settings.kind == "custom":
            cluster.adapt(minimum=least or most, maximum=most, **(SLOW if least else {}))
        elif least is not None:  # they replace what is lost themselves, and adapt at a pace of their own
            cluster.adapt(minimum=least, maximum=most)


def _pod(settings: ClusterSettings) -> dict[str, str]:
    """Return a worker's share of a machine, in Kubernetes' words."""
    size = {"cpu": str(settings.threads_per_worker)}
    if settings.memory_limit not in {None, "auto"}:
        size["memory"] = str(parse_bytes(settings.memory_limit))
    return size


def _environment(given: Mapping[str, str] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the environment of pods: what workers are told through Dask's configuration, then the user's own."""
    own = [{"name": name, "value": value} for name, value in given.items()] if isinstance(given, Mapping) else given
    return [*({"name": name, "value": value} for name, value in environment_of_workers().items()), *own]


@contextmanager
def _refusals(settings: ClusterSettings) -> Iterator[None]:
    """Tell what other people's library raises in its words: it may be anything, and is no fault of ours."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        words = told_without(error, settings.kwargs)
        raise InputError(
            f"cluster.kind {settings.kind} could not start its cluster: {type(error).__name__}"
            f"{f': {words}' if words else ''}. Look at cluster.kwargs, and at what the library says of it"
        ) from error
