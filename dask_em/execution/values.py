"""What is wrong in a cluster's settings that come from Python: those of a config are checked by its own types."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dask_em.execution.kinds import ClusterSettings
from dask_em.storage.secrets import without_credentials

__all__ = ["misvalue"]

Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or _is_text(value)


def _is_hosts(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) >= 2 and all(map(_is_text, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


_COUNT, _SECONDS = (_is_count, "a whole number, at least 1"), (_is_seconds, "a number of seconds, more than 0")
_SIZE, _TEXT = (_is_text, "a size such as '2GiB'"), (_is_text, "text that is not empty")
_ALLOWED: dict[str, tuple[Check, str]] = {
    **dict.fromkeys(("workers", "threads_per_worker", "least_workers"), _COUNT),
    **dict.fromkeys(("timeout", "patience"), _SECONDS),
    **dict.fromkeys(("memory_limit", "resident"), _SIZE),
    **dict.fromkeys(("address", "walltime", "queue", "account", "interface", "class_"), _TEXT),
    "scheduler_file": (_is_path, "a path"),
    "hosts": (_is_hosts, "a list of at least two names"),
    "kwargs": (_is_mapping, "a mapping"),
}
_OPTIONAL = frozenset(each.name for each in fields(ClusterSettings) if each.default is None)


def misvalue(settings: ClusterSettings) -> str | None:
    """Say which value is not what its key takes; None: all are. What is None is not given."""
    for name, (fits, allowed) in _ALLOWED.items():
        value = getattr(settings, name)
        if not (fits(value) or (value is None and name in _OPTIONAL)):
            shown = "" if name == "kwargs" else f" is {without_credentials(repr(value))}; it"  # some may be secrets
            return f"cluster.{name.rstrip('_')}{shown} must be {allowed}"
    return None
