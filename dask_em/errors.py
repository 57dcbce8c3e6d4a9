"""What can go wrong, said in a sentence: what happened, where, and what to do about it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ClusterError",
    "ConfigError",
    "DaskEMError",
    "DataError",
    "InputError",
    "InternalError",
    "did_you_mean",
    "to_install",
]


class DaskEMError(Exception):
    """Every error that dask_em raises on purpose."""


class InputError(DaskEMError, ValueError):
    """What the user gave is wrong; the message names the thing, the place and the remedy."""


class DataError(InputError):
    """Rows at rest cannot be used: missing, unreadable, of the wrong type, not finite."""


class ConfigError(InputError):
    """A configuration cannot be used."""


class ClusterError(DaskEMError, RuntimeError):
    """The cluster could not finish: workers or the scheduler were lost too often; nothing that was kept is lost."""


class InternalError(DaskEMError, RuntimeError):
    """A promise that dask_em makes to itself was broken: a fault of ours, please report it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, else the list of the known ones."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""


def to_install(package: str) -> str:
    """Return the command that installs a package for the Python that runs, which need not be the one on the path."""
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(package)}"
