"""Who starts workers: one kind of cluster a file, on the library that is made for it.

Where a library that only one kind needs is missing, a sentence says what to install.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, ClassVar

from distributed import Security

from dask_em.errors import InputError, to_install
from dask_em.execution.kinds import KINDS, ClusterSettings

__all__ = ["Launcher", "launcher_of"]


class Launcher(ABC):
    """Starts one kind of cluster, and takes it down."""

    patience: ClassVar[float] = 30.0  # seconds to wait where nothing is said
    waits: ClassVar[bool] = True  # for a first worker: who starts the workers knows that some will come
    security: Security | None = None  # of a client to an address; what else it connects to brings its own

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.timeout = self.patience if settings.timeout is None else settings.timeout

    def enlisted(self) -> AbstractContextManager[None]:
        """Take this process's part, where several run the same program: one goes on, and the others serve it and end.

        Raises
        ------
        SystemExit
            This process has served.
        """
        return nullcontext()

    @abstractmethod
    def launched(self) -> AbstractContextManager[Any]:
        """Give what a ``distributed.Client`` connects to; take down what was started, however it ends.

        Raises
        ------
        InputError
            It cannot be started or reached: in the words of who refused it.
        """

    def progress(self) -> str:
        """Return where the workers are that have not come yet, in the words of who starts them; may be empty."""
        return ""

    def check(self) -> None:  # noqa: B027  # most cannot tell
        """Notice, while a first worker is waited for, that none can come any more.

        Raises
        ------
        InputError, ClusterError
            None can: in the words of who refused it.
        """

    def script(self) -> str:
        """Return the job script that would be submitted, starting nothing.

        Raises
        ------
        InputError
            There are no jobs.
        """
        raise InputError(
            f"cluster.kind {self.settings.kind} submits no jobs; --job-script is for job queues, such as slurm"
        )


def launcher_of(settings: ClusterSettings) -> Launcher | None:
    """Return who starts a cluster; None to compute in this process.

    Raises
    ------
    InputError
        The library is not installed.
    """
    kind = KINDS[settings.kind]
    if kind.launcher is None:
        return None
    module, _, name = kind.launcher.partition(":")
    try:
        launcher = getattr(import_module(f"dask_em.execution.launchers.{module}"), name)
        made: Launcher = launcher(settings)
    except ImportError as error:
        if kind.extra is None or (error.name or "").startswith("dask_em"):
            raise
        raise InputError(
            f"cluster.kind {settings.kind} needs {error.name}, which is not installed: "
            f"{to_install(f'dask-em[{kind.extra}]')}"
        ) from error
    return made
