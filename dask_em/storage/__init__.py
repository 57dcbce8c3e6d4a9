"""Rows at rest: one source a file, the sinks, and the one door to zarr, pyarrow and file systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_em.storage.late import member
from dask_em.storage.source import Atom, Source

if TYPE_CHECKING:
    from dask_em.storage.archive import load_record, save_record
    from dask_em.storage.opening import open_source
    from dask_em.storage.sinks import ArraySink, open_sink
    from dask_em.storage.weighted import Weighted

__all__ = [
    "ArraySink",
    "Atom",
    "Source",
    "Weighted",
    "load_record",
    "open_sink",
    "open_source",
    "save_record",
]

_HOMES = {  # lazy: what needs no files need not load the libraries that read them
    "ArraySink": "sinks",
    "Weighted": "weighted",
    "load_record": "archive",
    "open_sink": "sinks",
    "open_source": "opening",
    "save_record": "archive",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return member(_HOMES[name], name)
    raise AttributeError(f"module 'dask_em.storage' has no attribute {name!r}")
