"""The kernel's blocks have the size of the CPU's registers: whichever it is, the answers are those of the reference."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dask_em.kernel import compiled_kernel

pytestmark = pytest.mark.skipif(compiled_kernel() is None, reason="nothing is compiled: no numba")

SIZES = {"SSE": (16, 16), "AVX": (16, 32), "NEON": (32, 16), "AVX-512": (32, 64)}  # registers, bytes of one
PROGRAM = """
import dataclasses
import sys

import numpy as np

from dask_em.kernel import simd

simd.REGISTERS, simd.NATIVE = {registers}, {nbytes}
simd.TALL, simd.HIGH = (6, 8) if {registers} >= 32 else (3, 4)
sys.executable = "/nowhere"  # another process would compile for this CPU's own registers

from dask_em.families import COVARIANCES, Gaussian
from dask_em.kernel import reference, summarize
from dask_em.testing import Case


def agree(case, prepared, rows, params, single):
    form = dataclasses.replace(prepared, prepared=dataclasses.replace(prepared.prepared, single=single))
    ours, theirs = summarize((form,), 480, rows).members[0], reference.summarize((form,), 480, rows)[0]
    np.testing.assert_allclose(ours.log_likelihood, theirs.log_likelihood, rtol=1e-5 if single else 1e-12)
    left, right = (case.model.maximize(stats, params).components for stats in (ours, theirs))
    near = {{"rtol": 1e-3, "atol": 1e-4}} if single else {{"rtol": 1e-9, "atol": 1e-11}}
    for field in ("means", "covariances"):
        np.testing.assert_allclose(getattr(left, field), getattr(right, field), **near)


for d in (1, 3, 8, 11, 16, 21, 40):
    apart = 0.3 if d == 11 else 5  # so near that every row is shared
    centres = apart * np.random.default_rng(d).standard_normal((7, d))
    for name, covariance in COVARIANCES.items():
        draw = lambda random, n: centres[random.integers(7, size=n)] + random.standard_normal((n, d))
        case = Case(name, Gaussian(covariance, 1e-6), draw, 7)
        rows = case.rows(701)
        frame, params = case.begin(rows)
        for _ in range(4):
            prepared = case.model.prepare(params, frame)
            for single in (False, True):
                agree(case, prepared, rows, params, single)
            params = case.model.maximize(reference.summarize((prepared,), 480, rows)[0], params)
print("agreed")
"""


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=() if size == "SSE" else pytest.mark.slow) for size in SIZES]
)
def test_statistics_are_those_of_the_reference(size: str, tmp_path: Path) -> None:
    registers, nbytes = SIZES[size]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    program = PROGRAM.format(registers=registers, nbytes=nbytes)
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert told.stdout == "agreed\n", told.stderr
