"""A small part of docs/accuracy.md: log-densities and covariances against the same in fifty digits."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from dask_em.families import COVARIANCES

pytest.importorskip("mpmath")
with pytest.MonkeyPatch.context() as patch:  # a benchmark is a script beside its helpers, no package
    patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    accuracy = importlib.import_module("accuracy")
    Setting = importlib.import_module("truth").Setting

KINDS = list(COVARIANCES)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("offset", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("kappa", [1.0, 1e12])
@pytest.mark.parametrize("columns", [2, 8])
@pytest.mark.parametrize("name", KINDS)
def test_in_log_densities(name, columns, kappa, offset, dtype):
    errors = accuracy.density_errors(Setting(name, columns, kappa, offset, dtype), 24)
    assert errors[accuracy.OURS] <= errors[accuracy.LIMIT]
    assert errors[accuracy.REFERENCE] <= errors[accuracy.LIMIT]


@pytest.mark.parametrize("kappa", [1e4, 1e6, 1e12])
@pytest.mark.parametrize("columns", [2, 8])
@pytest.mark.parametrize("name", KINDS)
def test_in_covariances_far_from_zero(name, columns, kappa):
    errors = accuracy.covariance_errors(Setting(name, columns, kappa, 1e8))
    assert errors[accuracy.OURS] <= errors[accuracy.LIMIT]


@pytest.mark.parametrize("kappa", [1.0, 1e4])
@pytest.mark.parametrize("columns", [16, 32])
@pytest.mark.parametrize("name", KINDS)
def test_in_covariances_of_many_columns(name, columns, kappa):
    errors = accuracy.covariance_errors(Setting(name, columns, kappa, 1e8))
    assert errors[accuracy.OURS] <= errors[accuracy.LIMIT]


@pytest.mark.parametrize("name", KINDS)
def test_in_covariances_of_rows_stored_in_float32(name):
    errors = accuracy.covariance_errors(Setting(name, 8, 1e4, 1e4, np.float32))
    assert errors[accuracy.OURS] <= errors[accuracy.LIMIT]


def test_where_no_spread_is_stored_none_is_judged():
    assert accuracy.covariance_errors(Setting("full", 2, 1.0, 1e8, np.float32)) is None


@pytest.mark.parametrize("name", ["tied", "diag", "spherical"])
def test_where_scikit_learn_keeps_none(name):
    errors = accuracy.covariance_errors(Setting(name, 8, 1e4, 1e8))
    assert not errors[accuracy.SKLEARN] < 1e-2  # NaN where it refuses
