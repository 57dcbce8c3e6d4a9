"""What tests of job queues share: workers small enough for a test's Slurm, and the program that fits through them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_em import GaussianMixture
from dask_em._record import digest

__all__ = ["ON_SLURM", "PROGRAM", "SMALL", "TIMEOUT", "bits", "fitted", "mixture", "overrides", "started"]

TIMEOUT = 120.0  # seconds for what takes a few
PROGRAM = str(Path(sys.executable).with_name("dask-em"))
SMALL = {
    "workers": 2,
    "threads_per_worker": 1,
    "memory_limit": "600MB",
    "walltime": "00:10:00",
    "interface": "lo",
    "timeout": TIMEOUT,
}
ON_SLURM = {"kind": "slurm", **SMALL}
SHORT = {"model.components": 4, "model.covariance": "diag", "fit.start": "random_from_data", "fit.restarts": 1}


def mixture(**settings: Any) -> GaussianMixture:
    """Return an estimator whose fits take as many passes as they may."""
    told = {"covariance_type": "diag", "init_params": "random_from_data", "random_state": 0, "tol": 0, "max_iter": 12}
    return GaussianMixture(4, **told | settings)


def fitted(**settings: Any) -> tuple[str, list[float]]:
    """Return the bits of such a fit."""
    model = mixture(**settings)
    assert list(model.iterate("data.zarr"))
    return bits(model)


def bits(model: GaussianMixture) -> tuple[str, list[float]]:
    """Return what a fit has come to, to the last bit."""
    return digest(model._fitted.params), model.lower_bounds_


def overrides(cluster: dict[str, Any], **fit: Any) -> list[str]:
    """Return the words that make a fit of any config small, and how many passes it makes."""
    keys = {f"cluster.{name}": value for name, value in cluster.items()} | SHORT
    keys |= {f"fit.{name}": value for name, value in {"tolerance": 0, "max_passes": 5, **fit}.items()}
    return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program that hears Ctrl-C and SIGHUP, though the one that runs the tests may be deaf to them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    finally:
        for number, action in before.items():
            signal.signal(number, action)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
