"""MODEL and SOURCE as they are given on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_em.cli.run_directory import RunDirectory
from dask_em.cli.settings import client_of, source_of
from dask_em.config import load_config
from dask_em.errors import InputError
from dask_em.estimators import GaussianMixture, load
from dask_em.storage import Source, open_source

__all__ = ["MODEL", "SOURCE", "loaded", "opened", "rows_of"]

MODEL = "A model file, or the run directory that holds one."
SOURCE = (
    "A path, glob, URL or example. Or a config (.yaml), whose data section says more than a path can, "
    "and whose cluster is used."
)


def loaded(model: Path) -> GaussianMixture:
    """Return the fitted model of a file or a run directory."""
    found = load(RunDirectory(model).model if model.is_dir() else model)
    if not isinstance(found, GaussianMixture):
        raise InputError(f"{model} holds a {type(found).__name__}, which is no mixture")
    return found


def opened(source: str) -> Source:
    """Open a source, or the one that a config names."""
    return source_of(load_config(source).data) if _is_config(source) else open_source(source)


@contextmanager
def rows_of(source: str) -> Iterator[tuple[Any, Any]]:
    """Give what a model takes as data, and the client to use; None for the threads of this process."""
    if not _is_config(source):
        yield source, None  # the model chooses its columns by name
        return
    config = load_config(source)
    data = source_of(config.data)
    with client_of(config.cluster) as client:
        yield data, client


def _is_config(source: str) -> bool:
    return source.endswith((".yaml", ".yml"))
