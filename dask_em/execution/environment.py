"""What decides the last bits of a sum in a process: versions, and the family of arithmetic that its CPU is given."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import scipy.linalg  # noqa: F401  # its BLAS, where it is one of its own, has to be loaded to be seen
import threadpoolctl  # type: ignore[import-untyped]  # ships without types

__all__ = ["differences", "environment"]

PACKAGES = ("dask-em", "numba", "numpy", "scipy")


@cache
def environment() -> str:
    """Return this process's arithmetic: a line of ``name value`` pairs, the same where bits are the same."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {name: _version(name) for name in PACKAGES if importlib.util.find_spec(name.replace("-", "_"))}
    told = {"machine": platform.machine(), "Python": python, **versions, "SIMD": _simd(), "BLAS": _blas()}
    return "; ".join(f"{name} {value}" for name, value in told.items())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"  # but found along the path


def _simd() -> str:
    """Return the widest family of instructions that NumPy found on this CPU, and was left to use."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]  # type: ignore[call-overload,index,no-untyped-call,unused-ignore]
    return "+".join([*extensions.get("baseline", ())[-1:], *extensions.get("found", ())[-1:]])


def _blas() -> str:
    """Return the BLAS of NumPy and of SciPy: their own where they brought one, whatever else the process has loaded."""
    loaded = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in loaded if {"numpy", "scipy"} & _packages(library["filepath"])]
    found = {
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
        for library in own or loaded
    }
    return ", ".join(sorted(found))


def _packages(path: str) -> set[str]:
    """Return the first words of a path's parts: of ``site-packages/numpy.libs/libopenblas.so`` there is ``numpy``."""
    return {part.partition(".")[0] for part in Path(path).parts}


def differences(environments: Iterable[str]) -> str:
    """Return in which respects environments differ: ``"BLAS a or b; numpy 1 or 2"``."""
    parts = [dict(pair.split(" ", 1) for pair in each.split("; ") if " " in pair) for each in sorted(environments)]
    names = dict.fromkeys(name for each in parts for name in each)
    values = {name: sorted({each.get(name, "missing") for each in parts}) for name in names}
    return "; ".join(f"{name} {' or '.join(found)}" for name, found in values.items() if len(found) > 1)
