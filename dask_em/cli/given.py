"""MODEL and SOURCE as they are given on the command line."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dask_em.cli import run_directory
from dask_em.cli.settings import client_of, source_of
from dask_em.config import load_config
from dask_em.driver import Checkpoints
from dask_em.errors import DataError, InputError
from dask_em.estimators import GaussianMixture, load
from dask_em.storage import Source, open_source
from dask_em.storage.folder import folder_at
from dask_em.storage.secrets import without_credentials

__all__ = ["MODEL", "SOURCE", "loaded", "opened", "options_beside", "program", "rows_of"]

ENDING = ".npz"  # of a model file, by which it is told from a run directory where nobody may be asked

MODEL = "A model file, or the run directory that holds one; a path or URL."
SOURCE = (
    "A path, glob, URL or example. Or a config (.yaml), whose data section says more than a path can, "
    "whose cluster is used, and whose output.storage_options are for MODEL and DEST where these are URLs."
)


def loaded(model: str, options: Mapping[str, Any] | None = None) -> GaussianMixture:
    """Return the fitted model of a file or a run directory; ``options`` are for the file system of a URL."""
    options = options if "://" in model else None
    is_file = not Path(model).is_dir() if "://" not in model else model.endswith(ENDING)
    try:
        found = load(model if is_file else f"{model.rstrip('/')}/{run_directory.MODEL}", options)
    except DataError:
        if not is_file:
            _require_ended(model.rstrip("/"), options)
        raise
    if not isinstance(found, GaussianMixture):
        raise InputError(f"{without_credentials(model)} holds a {type(found).__name__}, which is no mixture")
    return found


def _require_ended(run: str, options: Mapping[str, Any] | None) -> None:
    """Refuse a run whose fit goes on, or was stopped; not one that cannot be reached, which is told already."""
    folder, checkpoints = folder_at(run, options), []
    with suppress(DataError):
        checkpoints = Checkpoints(folder.child(run_directory.CHECKPOINTS)).names()
    if checkpoints and run_directory.MODEL not in folder.names():
        config = without_credentials(folder.file(run_directory.CONFIG))
        raise InputError(
            f"{without_credentials(run)} holds no model yet: its fit has not come to an end. To go on with it:\n"
            f"  {shlex.join([program(), 'fit', config, '--resume'])}"
        )


def program() -> str:
    """Return how this program is called from here."""
    called = Path(sys.argv[0])
    if shutil.which("dask-em") == str(called):
        return "dask-em"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)


def options_beside(source: str) -> dict[str, Any]:
    """Return the options of the file system of results, where a source is a config that has some."""
    return load_config(source).output.storage_options if _is_config(source) else {}


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
