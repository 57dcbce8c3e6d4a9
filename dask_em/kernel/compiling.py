"""Compiling apart: a first call takes a quarter of a minute, and would leave 140 MB in a worker that may have few.

A child process makes that call instead, numba keeps what it compiled on disk, and this process loads it from there.
"""

from __future__ import annotations

import fcntl
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numba
import numpy as np
from llvmlite import binding

from dask_em.families.gaussian import Gaussian, GaussianParameters
from dask_em.kernel import compiled
from dask_em.mixture import Free, Mixture, MixtureParameters
from dask_em.rows import Frame, Rows

__all__ = ["compile_ahead", "compile_apart", "compile_here", "evaluate", "summarize"]

summarize, evaluate = compiled.summarize, compiled.evaluate
CHILD = (
    "import sys; sys.path[:] = {path!r}; from dask_em.kernel.compiling import compile_here; compile_here(*{types!r})"
)
TOLD = "compiling the kernel for this machine's processor, once: a quarter of a minute, half of one where it is slow"
logger = logging.getLogger("dask_em")
_READY: set[tuple[str, np.dtype[Any], np.dtype[Any]]] = set()  # types, not names: those take longer to ask for
_COMPILING: dict[tuple[str, str, str], Lock] = {}
_UNTOLD = Lock()  # taken by whoever tells, for good


def compile_apart(name: str, rows: np.dtype[Any], products: np.dtype[Any]) -> None:
    """Have an entry point compiled for rows and products of some types, unless this machine has kept it.

    Where a child process cannot do it, nothing is lost: the next call compiles.
    """
    asked = (name, rows, products)
    if asked in _READY:
        return
    types = (name, rows.name, products.name)
    with _COMPILING.setdefault(types, Lock()):
        mark = _mark(*types)
        if asked not in _READY and mark is not None and not mark.exists():
            if _UNTOLD.acquire(blocking=False):  # people are told once
                logger.info(TOLD, extra={"event": "compiling"})
            command = [sys.executable, "-c", CHILD.format(path=sys.path, types=types)]
            with suppress(OSError, TypeError):  # an embedded Python may have no program of its own
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603  # ours
        _READY.add(asked)


def compile_ahead(rows: np.dtype[Any]) -> None:
    """Begin to have all entry points compiled for rows of a type, while something else is done."""
    for name in ("summarize", "evaluate"):
        Thread(target=compile_apart, args=(name, rows, np.dtype(np.float64)), daemon=True).start()


def compile_here(name: str, rows: str, products: str) -> None:
    """Call an entry point with one row and one component, and mark that what was compiled is kept."""
    from dask_em.kernel import passes  # noqa: PLC0415  # which imports this module

    _READY.add((name, np.dtype(rows), np.dtype(products)))  # or it would ask for a child again
    mark = _mark(name, rows, products)
    if mark is None:
        return
    with _alone(mark.with_suffix(".lock")):
        if mark.exists():  # another process was first
            return
        params = MixtureParameters(np.ones(1), GaussianParameters(np.zeros((1, 1)), np.ones((1, 1, 1))))
        model = Mixture(Gaussian(), Free()).prepare(params, Frame.identity(1))
        model = replace(model, prepared=replace(model.prepared, single=products == "float32"))
        row = Rows.of(np.zeros((1, 1), rows))
        if name == "summarize":
            passes.summarize((model,), 1, row)
        else:
            passes.log_density(model, 1, row)
        mark.touch()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process of this machine go on at a time, where files can be locked."""
    with place.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _mark(name: str, rows: str, products: str) -> Path | None:
    """Return the file that says that a function is kept, for all that numba asks of it; None where nothing can be."""
    place = compiled.summarize.stats.cache_path
    machine = f"{binding.get_host_cpu_name()}-{numba.__version__}-{sys.implementation.cache_tag}"
    return Path(place) / f"{name}-{rows}-{products}-{machine}-{compiled.SOURCES:08x}.kept" if place else None
