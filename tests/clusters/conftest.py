"""Services that tests really start, on loopback; where a program is not installed, its tests are skipped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.clusters.slurm import MISSING, Slurm, running_slurm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def started() -> Iterator[Slurm]:
    """Slurm, started once."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} not installed: apt-get install slurm-wlm munge")
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture
def slurm(started: Slurm, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """Slurm, in whose queue nothing may be left: jobs find this checkout and the environment of the tests."""
    monkeypatch.setenv("SLURM_CONF", str(started.configuration))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    assert not started.jobs()
    yield started
    started.empty()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with rows in a store of sixteen chunks."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    rows = random.normal(size=(40_000, 4)) + 2 * random.integers(4, size=(40_000, 1))
    zarr.create_array("data.zarr", data=rows.astype(np.float32), chunks=(2_500, 4))
    return tmp_path
